//! ANSI C12.22 octets to APDU, EPSEM, services, ApTitle and C12.19 tables, and back.
