//! Faults that only device profiles have; those of keys and values are the same as in graph files.

use crate::diagnostic::Code;

/// Declares codes as statics, and `ALL` with all of them.
macro_rules! codes {
    ($($name:ident $severity:ident $code:literal $text:literal $example:literal;)*) => {
        $(
            #[doc = $text]
            pub static $name: Code = Code {
                name: concat!("profile::", $code),
                severity: crate::diagnostic::Severity::$severity,
                text: $text,
                example: $example,
            };
        )*
        /// All codes of device profiles.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    FORMAT Error "format"
    "`device_profile = 1` says that the file is a device profile, and names its format. This program \
     reads format 1; a file of another format was written for another release."
    "device_profile = 2";

    BAD_TABLE Error "bad_table"
    "A table is written as `ST` (standard) or `MT` (manufacturer) and its number, 0 to 2047."
    "[[table]]\ntable = \"23\"     # ST23";

    FIXED_TABLE Error "fixed_table"
    "The standard lays out this table, so a profile cannot: ST0 says how all others are written, ST7 \
     and ST8 carry procedures, ST52 is the clock."
    "[[table]]\ntable = \"ST52\"";

    DUPLICATE_TABLE Error "duplicate_table"
    "Two sections lay out one table, and which of them holds cannot be known."
    "[[table]]\ntable = \"ST23\"\nsize  = 12\n[[table]]\ntable = \"ST23\"\nsize  = 24";

    DUPLICATE_NAME Error "duplicate_name"
    "Two fields of a table, or two channels of a load profile, have one name."
    "[[table.field]]\nname = \"forward\"\n[[table.field]]\nname = \"forward\"     # reverse";

    OUTSIDE_TABLE Error "outside_table"
    "A field, or the moment in `time`, ends behind the table's last octet."
    "[[table]]\ntable = \"ST23\"\nsize  = 12\n[[table.field]]\noffset = 8\nsize   = 6     # 8 + 6 > 12";

    OVERLAP Error "overlap"
    "Two fields, or a field and the moment in `time`, share octets: one of the offsets is wrong."
    "[[table.field]]\noffset = 0\nsize   = 6\n[[table.field]]\noffset = 4     # 6";

    BAD_READING_TYPE Error "bad_reading_type"
    "A CIM reading type (IEC 61968-9) is eighteen whole numbers with dots between them. Every row of \
     the export carries it, so that billing knows what the value is."
    "reading_type = \"0.0.2.4.1.1.12\"     # 0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0";

    DUPLICATE_READING Error "duplicate_reading"
    "Two quantities of one table, or of the load profiles, have one reading type. Their rows would be the \
     same reading with two values."
    "reading_type = \"0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0\"     # of both fields; reverse is 0.0.0.1.19. ...";

    UNIT_MISMATCH Error "unit_mismatch"
    "The unit is not the one that the reading type says in its 16th (multiplier) and 17th (unit) number. \
     One of them is wrong, and values would be off by a thousand or be of another kind."
    "unit         = \"Wh\"     # kWh: 3.72\nreading_type = \"0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0\"";

    INTERVAL_MISMATCH Error "interval_mismatch"
    "The third number of a reading type (measuring period) says another interval than the load profile's \
     `interval_min`: 2 is fifteen minutes, 5 thirty, 7 sixty."
    "interval_min = 30\n# reading_type = \"0.0.2.4. ...\" means 15; 30 is \"0.0.5.4. ...\"";

    DELTA_REGISTER Error "delta_register"
    "The fourth number of a reading type says 4, delta: what an interval added. A register shows a total at \
     a moment, which is 1, bulk."
    "reading_type = \"0.0.0.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0\"     # 0.0.0.1.1. ...";

    NO_TIME Error "no_time"
    "A table gives readings, and nothing says which moment they belong to: `clock` is the device's clock \
     (ST52, sent before it in the same report), `received` the moment of arrival, `{ offset = N, form = \
     \"long\" }` a moment in the table itself."
    "[[table]]\ntable = \"ST23\"\ntime  = \"clock\"";

    NO_CLOCK Error "no_clock"
    "`time_format = \"none\"` says that the device has no clock, and something here needs one: a load \
     profile, or readings that are stamped by it."
    "[format]\ntime_format = \"none\"     # unix-seconds\n[[load_profile]]\ntable = \"ST64\"";

    NO_CHANNELS Error "no_channels"
    "A load profile without a channel holds nothing; more than 255 no device has."
    "[[load_profile]]\ntable = \"ST64\"\n# [[load_profile.channel]]";

    LONG_REPORT Warning "long_report"
    "This table, or one block of this load profile, is longer than what fits a sealed report (609 octets), so \
     such a device cannot report it by itself. It can still be read in parts. Shorter blocks help."
    "[[load_profile]]\nintervals = 672     # a week; 96 are a day of 15 minutes";

    BAD_PROCEDURE Error "bad_procedure"
    "A procedure is written as `SP` (standard) or `MP` (manufacturer) and its number, 0 to 2047."
    "[service_switch]\ndisconnect = { procedure = \"2049\" }     # MP1";

    BAD_HEX Error "bad_hex"
    "Parameters of a procedure are octets, two hexadecimal digits each, at most 252 octets."
    "disconnect = { procedure = \"MP1\", parameters = \"0\" }     # 00";

    AMBIGUOUS_SWITCH Error "ambiguous_switch"
    "Two actions of the service switch are the same call, or two of its positions the same number: what \
     was asked for, or how it stands, could not be told."
    "disconnect = { procedure = \"MP1\", parameters = \"00\" }\nconnect    = { procedure = \"MP1\", parameters = \"00\" }";

    UNKNOWN_TABLE Error "unknown_table"
    "The service switch shows its position in a table that no `[[table]]` lays out."
    "status = { table = \"MT2\", field = \"switch\", open = 0, closed = 1 }     # [[table]] table = \"MT2\"";

    UNKNOWN_FIELD Error "unknown_field"
    "The service switch shows its position in a field that its table does not have."
    "status = { table = \"MT1\", field = \"swich\", open = 0, closed = 1 }     # switch";

    UNFIT_COUNT Error "unfit_count"
    "A position of the service switch is a number that its field cannot hold."
    "status = { table = \"MT1\", field = \"switch\", open = 0, closed = 256 }     # one octet: 0 to 255";

    LOW_CLASS Error "low_class"
    "A class that is lower than what the thing can do: tables 42, 44, 45 and 46 hold passwords and keys \
     (class 4), the calls of the service switch, load limit and demand response move loads (3), a firmware \
     table and its activation are 2. A command of the lower class would carry the higher one hidden."
    "[classes]\nprocedure = { MP1 = 1 }     # works the service switch: 3";

    CLASSED_BY_PROCEDURE Error "classed_by_procedure"
    "Writing ST7 starts a procedure and has the class of that one, so the table has none of its own."
    "[classes]\nwrite = { ST7 = 1 }     # procedure = { SP9 = 1 }";

    BAD_IDENTITY Error "bad_identity"
    "Device class, manufacturer and model are printable ASCII characters: 4, at most 4 and at most 8 of them. \
     Hardware and firmware are `VERSION.REVISION`, each 0 to 255."
    "[identity]\ndevice_class = \"RESIDENTIAL\"     # MGRF\nfirmware     = \"1\"     # 1.0";
}
