//! Faults of transports and their plugins.

use crate::diagnostic::Code;

codes! {
    PLUGIN_NOT_FOUND Error "graph::plugin_not_found"
    "The plugin's file is in none of the folders that are searched: those of `--plugin-dir`, else the \
     program's own. A path with a `/` is taken as it is."
    "[transport.wan]\nplugin = \"libmetergraph_tpc.so\"     # libmetergraph_tcp.so";

    PLUGIN_UNUSABLE Error "graph::plugin_unusable"
    "The file is no transport plugin, or was built for another version of the contract. The message \
     says which."
    "[transport.wan]\nplugin = \"libc.so.6\"";

    PLUGIN_HASH Error "graph::plugin_hash"
    "The plugin's file is not the one that `sha256` pins. Either it was exchanged, or the pin was \
     forgotten when it was updated."
    "[transport.wan]\nplugin = \"libmetergraph_tcp.so\"\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"";

    BAD_SHA256 Error "graph::bad_sha256"
    "`sha256` is the SHA-256 of the plugin's file, 64 hex digits, as `sha256sum` prints it."
    "sha256 = \"e3b0c442\"";

    PLUGIN_NOT_PINNED Warning "graph::plugin_not_pinned"
    "A native plugin runs in the head-end's process and could read its memory. `sha256` makes sure that \
     it is the file you have looked at."
    "[transport.wan]\nplugin = \"libmetergraph_tcp.so\"     # sha256 = \"...\"";

    PLUGIN_SCHEMA Error "graph::plugin_schema"
    "The plugin states its configuration in a form that cannot be read. A schema is a JSON Schema \
     object of `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `minimum` and \
     `maximum`; this is for the plugin's vendor. `--no-plugins` leaves the check to the plugin."
    "# { \"properties\": { \"mode\": { \"oneOf\": [ ... ] } } }";

    PLUGIN_SCHEMA_PARTIAL Warning "graph::plugin_schema_partial"
    "The plugin states conditions that `check` does not look at. The plugin itself does when it is \
     opened, so a fault would show itself at `run`."
    "# { \"properties\": { \"apn\": { \"type\": \"string\", \"pattern\": \"^[a-z.]+$\" } } }";

    PLUGINS_UNCHECKED Warning "graph::plugins_unchecked"
    "With `--no-plugins` nobody asks the plugin for its keys: whether it is there, whether it fits its \
     pin, and whether `config` is right is left unchecked."
    "# metergraph check --no-plugins graphs/collection-engine.toml";

    UNKNOWN_GRANT Error "graph::unknown_grant"
    "A grant holds exactly one kind of thing that the plugin may reach, and this is none."
    "grants = { wan = { tcp_lisen = \"0.0.0.0:1153\" } }     # tcp_listen";

    BAD_GRANT Error "graph::bad_grant"
    "A grant cannot be read. `tcp_listen = \"IP:PORT\"` allows to listen there, `tcp_connect = \
     [\"IP[/PREFIX]:PORT\", ..]` to dial these, PORT may be `*`. Names are not resolved: what a plugin \
     may reach must not depend on a name server."
    "grants = { wan = { tcp_listen = \"localhost:1153\" } }     # 127.0.0.1:1153";

    NO_GRANTS Warning "graph::no_grants"
    "Without `grants` a plugin can reach nothing: the host owns the sockets and opens only what is \
     granted."
    "[transport.wan]\nplugin = \"libmetergraph_tcp.so\"";

    DUPLICATE_ADDRESS Error "graph::duplicate_address"
    "Two parts of the graph listen on one address; the second one would not start."
    "[http]\nlisten = \"127.0.0.1:1153\"\n[transport.wan]\nplugin = \"libmetergraph_tcp.so\"\ngrants = { wan = { tcp_listen = \"0.0.0.0:1153\" } }";

    UNREAD_TRANSPORT Error "graph::unread_transport"
    "Nobody takes what the transport receives: a transport needs one `ingress`."
    "[transport.wan]\nplugin = \"libmetergraph_tcp.so\"     # and [node.ingress] with transport = \"wan\"";

    SILENT_TRANSPORT Warning "graph::silent_transport"
    "Nothing is ever sent through the transport: it has no `downlink`. Devices behind it get no \
     acknowledgement and repeat their reports."
    "[node.ingress]\nkind      = \"ingress\"\ntransport = \"wan\"     # and a downlink";

    DUPLICATE_TRANSPORT_END Error "graph::duplicate_transport_end"
    "A transport has one `ingress` and at most one `downlink`; two nodes of one kind would share its \
     frames by chance."
    "[node.ingress]\nkind      = \"ingress\"\ntransport = \"wan\"\n[node.second]\nkind      = \"ingress\"\ntransport = \"wan\"";
}
