//! Any octets as an EPSEM: what a request or response decodes to, encodes to the same again.
#![no_main]

use c1222::{Epsem, Leniency, Request, Response, ServiceCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(epsem) = Epsem::decode(octets) else { return };
    let _ = epsem.check();
    for service in epsem.services().flatten() {
        if let Ok(request) = Request::decode(service) {
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(Request::decode(&out), Ok(request));
            let _ = request.check();
        }
        for code in (0x20..=0x72).map(ServiceCode) {
            if let Ok(response) = Response::decode(service, Some(code), Leniency::Draft) {
                let _ = response.check();
            }
        }
    }
});
