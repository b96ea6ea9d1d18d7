//! Faults of keys and values.

use crate::diagnostic::Code;

codes! {
    UNKNOWN_KEY Error "graph::unknown_key"
    "A table holds a key that nothing reads. It is an error, since a slip of the pen would otherwise \
     leave the default in force. `metergraph schema` gives editors the list of all keys."
    "[node.decrypt]\nkind  = \"decrypt\"\nshard = 2     # shards";

    MISSING_KEY Error "graph::missing_key"
    "A key that has no default is not there. The help says what belongs in it."
    "[node.decrypt]\nkind  = \"decrypt\"\ninput = [\"balancer\"]     # and keys = \"keys\"";

    WRONG_TYPE Error "graph::wrong_type"
    "A value is of another type than its key takes: a text where a number belongs, one value where a \
     list belongs. Nothing is converted, except the text that an environment variable or a secret \
     gives."
    "shards = \"2\"     # shards = 2";

    OUT_OF_RANGE Error "graph::out_of_range"
    "A number is outside its bounds. The message says what they are, both included."
    "shards = 0     # from 1";

    UNKNOWN_CHOICE Error "graph::unknown_choice"
    "A key takes one of a few words, and this is another one."
    "input = [{ from = \"decrypt.events\", when_full = \"merge\" }]     # collapse";

    EMPTY_TEXT Error "graph::empty_text"
    "A text is empty where something must be said. A key that may be absent is left out."
    "path = \"\"";

    BAD_ADDRESS Error "graph::bad_address"
    "An address is `HOST:PORT`: an IPv4 address or a name before the colon, or an IPv6 address in \
     brackets; the port from 0 (any free one) to 65535."
    "[http]\nlisten = \"9153\"     # 127.0.0.1:9153";

    NO_TEMPLATING Warning "graph::no_templating"
    "A text holds `${` or `{{`. Graph files know no templates, so these characters stand for \
     themselves. An environment variable or a secret can give a whole value: `{ env = \"NAME\" }`, \
     `{ secret = \"FILE\" }`."
    "[http]\nlisten = \"${HOST}:9153\"     # listen = { env = \"METRICS\" }";

    BAD_SUBSTITUTION Error "graph::bad_substitution"
    "`{ env = \"NAME\" }` takes the name of an environment variable, `{ secret = \"FILE\" }` a file, \
     and there is nothing beside it in its table."
    "listen = { env = \"METRICS\", default = \"127.0.0.1:9153\" }";

    MISPLACED_SUBSTITUTION Error "graph::misplaced_substitution"
    "Here the value must be written out: it gives the graph its shape (`kind`, `input`, `transport`, \
     a node's name, the number of instances, a plugin), and `check` and `draw` could not see it. An \
     environment variable or a secret gives one text, number or truth value of a configuration, never \
     a list or a table."
    "[node.decrypt]\nkind   = \"decrypt\"\nshards = { env = \"SHARDS\" }";

    ENV_NOT_SET Error "graph::env_not_set"
    "The environment variable that gives a value is not set, or is no UTF-8. `check` does not look at \
     the environment; `run` does, before it opens anything."
    "listen = { env = \"METRICS\" }     # METRICS=127.0.0.1:9153 metergraph run ...";

    SECRET_UNREADABLE Error "graph::secret_unreadable"
    "The file that gives a value cannot be read, is no UTF-8 or is longer than 64 KiB. A relative path \
     begins at the graph file's folder; one line break at the end does not count."
    "password = { secret = \"mdm.password\" }";

    SECRET_EXPOSED Warning "graph::secret_exposed"
    "A secret's file can be read by other users of the machine. `chmod 600` it."
    "password = { secret = \"mdm.password\" }     # -rw-r--r--";
}
