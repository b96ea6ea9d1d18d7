//! Faults that the shipped node kinds find in their own configuration.

use crate::diagnostic::Code;

codes! {
    AP_TITLE Error "node::ap_title"
    "An ApTitle is a relative one, `.68.33.3`, or an absolute one, `2.16.124.113620.1.22.0.68.33.3`: \
     numbers with dots between them."
    "[node.decrypt]\nkind    = \"decrypt\"\naptitle = \"head-end\"     # .1";
}
