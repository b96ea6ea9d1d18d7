//! `metergraph group ...`.

use std::process::ExitCode;
use std::time::Duration;

use api::view::{AcceptedList, Group, GroupList, Members, NewGroup};
use clap::Subcommand;

use super::{ApiArgs, Client, show};

/// `metergraph group ...`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Makes a group of a random number, without members.
    Create {
        /// Its name.
        name: String,
        /// The classes that members let it order, 0 to 5.
        #[arg(long, value_delimiter = ',', default_value = "0,1,3")]
        classes: Vec<u8>,
    },
    /// Lists all groups.
    List,
    /// Shows a group with its first members.
    Show {
        /// The group.
        gid: String,
    },
    /// Lets end devices join: a signed JOIN to each.
    Join {
        /// The group.
        gid: String,
        /// The end devices.
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Lets members leave: a signed LEAVE to each.
    Leave {
        /// The group.
        gid: String,
        /// The end devices.
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Begins the group's next epoch at once.
    Rekey {
        /// The group.
        gid: String,
    },
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: what the head-end says against it.
pub fn group(command: &GroupCommand, args: &ApiArgs) -> miette::Result<ExitCode> {
    let client = Client::new(args)?;
    match command {
        GroupCommand::Create { name, classes } => {
            let new = NewGroup { name: name.clone(), classes: classes.clone() };
            let group: Group = client.post("/v1/groups", &new)?;
            show(args.json, &group, |group| group.gid.clone())
        }
        GroupCommand::List => {
            let list: GroupList = client.get("/v1/groups", Duration::ZERO)?;
            show(args.json, &list, |list| list.groups.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        GroupCommand::Show { gid } => {
            let group: Group = client.get(&format!("/v1/groups/{gid}"), Duration::ZERO)?;
            show(args.json, &group, |group| {
                let members = group.page.iter().map(String::as_str);
                std::iter::once(line(group).as_str()).chain(members).collect::<Vec<_>>().join("\n")
            })
        }
        GroupCommand::Join { gid, devices } => {
            let members = Members { devices: devices.clone() };
            let list: AcceptedList = client.post(&format!("/v1/groups/{gid}/members"), &members)?;
            show(args.json, &list, ids)
        }
        GroupCommand::Leave { gid, devices } => {
            let members = Members { devices: devices.clone() };
            let list: AcceptedList = client.delete(&format!("/v1/groups/{gid}/members"), &members)?;
            show(args.json, &list, ids)
        }
        GroupCommand::Rekey { gid } => {
            let group: Group = client.post(&format!("/v1/groups/{gid}/rekey"), &())?;
            show(args.json, &group, line)
        }
    }
}

fn ids(list: &AcceptedList) -> String {
    list.commands.iter().map(|accepted| accepted.id.as_str()).collect::<Vec<_>>().join("\n")
}

fn line(group: &Group) -> String {
    let epoch = group.epoch.map_or_else(|| "no key yet".to_owned(), |epoch| format!("epoch {epoch}"));
    let classes: Vec<String> = group.classes.iter().map(u8::to_string).collect();
    format!(
        "{}  {:<20} {} members, {epoch}, classes {}",
        group.gid,
        group.name,
        group.members,
        classes.join(",")
    )
}
