//! Faults of the file as a whole.

use crate::diagnostic::Code;

codes! {
    TOO_LARGE Error "graph::too_large"
    "The file is larger than one MiB. A graph of a thousand nodes needs a tenth of that, so this is \
     most likely another file."
    "# metergraph check graphs/capture.pcap";

    SYNTAX Error "graph::syntax"
    "The file is no TOML. All faults of this kind are listed; other faults are looked for once there \
     are none of these."
    "name = \"collection-engine      # the closing quote is missing";

    DUPLICATE_KEY Error "graph::duplicate_key"
    "A key, or a table of one name, is written twice. TOML allows neither, and which of the two was \
     meant cannot be known."
    "[node.ingress]\nkind = \"ingress\"\nkind = \"downlink\"     # the second one";

    VERSION Error "graph::version"
    "`graph = 1` names the format of the file. This program reads format 1; a file of another format \
     was written for another release."
    "graph = 2";

    NO_NODES Error "graph::no_nodes"
    "A graph without a `[node.NAME]` does nothing."
    "graph = 1\nname  = \"empty\"";

    TOO_MANY Error "graph::too_many"
    "A graph holds at most 1,024 nodes and 256 transports (a frame carries its transport's number in \
     one octet). Of more than 500 faults only the first are listed."
    "[transport.link-257]\nplugin = \"libmetergraph_tcp.so\"";

    BAD_NAME Error "graph::bad_name"
    "The name of a graph, node, transport or grant begins with a letter and goes on with letters, \
     digits, `-` and `_`, all lower case, 63 characters at most. Names become labels of metrics, and \
     in `input` a dot parts a node from its port."
    "[node.\"Decrypt 1\"]     # node.decrypt-1\nkind = \"decrypt\"";
}
