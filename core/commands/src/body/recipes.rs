//! `[commands]` of a device profile: how a device is told what no standard says.

use std::str::FromStr;

use c1222::TableId;
use c1222::tables::ProcedureId;
use serde::Deserialize;

/// How a device is told what no standard says. Parameters of the procedures, in the profile's byte order:
/// load limit `watts u32 ‖ minutes u16`; demand response `event u32 ‖ start u32 (Unix s) ‖ minutes u16 ‖
/// percent u8`; activation `size u32 ‖ SHA-256 of the image 32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipes {
    /// Limits its load.
    pub load_limit: Option<ProcedureId>,
    /// Takes a demand-response event; the standard's «direct load control» where the profile names no other.
    pub demand_response: Option<ProcedureId>,
    /// How it takes an image.
    pub firmware: Option<Firmware>,
}

/// How a device takes a firmware image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Blocks are written to it, each at its offset.
    pub table: TableId,
    /// The longest block, in octets.
    pub block: u16,
    /// Makes the image the one that runs.
    pub activate: ProcedureId,
}

/// The section `[commands]` says something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipesError {
    /// No TOML of this shape.
    #[error("`[commands]` of the device profile: {0}")]
    Shape(String),
    /// No procedure, no table.
    #[error("`[commands]` of the device profile: `{0}` is no procedure or table such as `MP2` or `MT52`")]
    Name(String),
}

impl Default for Recipes {
    fn default() -> Self {
        Self { load_limit: None, demand_response: Some(ProcedureId::standard(21)), firmware: None }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    commands: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    load_limit: Option<String>,
    demand_response: Option<String>,
    firmware: Option<FirmwareSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareSection {
    table: String,
    block: u16,
    activate: String,
}

impl FromStr for Recipes {
    type Err = RecipesError;

    /// Reads the section in the text of a device profile; without one, what the standard says.
    fn from_str(text: &str) -> Result<Self, RecipesError> {
        let file: File =
            toml::from_str(text).map_err(|error| RecipesError::Shape(error.message().to_owned()))?;
        let Section { load_limit, demand_response, firmware } = file.commands;
        let firmware = firmware.map(|section| {
            Ok::<_, RecipesError>(Firmware {
                table: named(&section.table)?,
                block: section.block,
                activate: named(&section.activate)?,
            })
        });
        let procedure = |text: Option<String>| text.map(|text| named(&text)).transpose();
        Ok(Self {
            load_limit: procedure(load_limit)?,
            demand_response: procedure(demand_response)?.or(Self::default().demand_response),
            firmware: firmware.transpose()?,
        })
    }
}

fn named<T: FromStr>(text: &str) -> Result<T, RecipesError> {
    text.parse().map_err(|_| RecipesError::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_its_procedures() {
        let standard = Recipes::default();
        assert_eq!("device_profile = 1\n[identity]\nmodel = \"X\"".parse(), Ok(standard));
        let text = "[commands]\nload_limit = \"MP2\"\n\
                    firmware = { table = \"MT52\", block = 400, activate = \"MP3\" }";
        let firmware =
            Firmware { table: TableId::manufacturer(52), block: 400, activate: ProcedureId::manufacturer(3) };
        let load_limit = Some(ProcedureId::manufacturer(2));
        assert_eq!(text.parse(), Ok(Recipes { load_limit, firmware: Some(firmware), ..standard }));
        assert_eq!("[commands]\nload_limit = \"2\"".parse::<Recipes>(), Err(RecipesError::Name("2".into())));
        for wrong in ["[commands]\nload = \"MP2\"", "commands = 3", "["] {
            assert!(matches!(wrong.parse::<Recipes>(), Err(RecipesError::Shape(_))), "{wrong}");
        }
    }
}
