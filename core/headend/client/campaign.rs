//! `metergraph keys advance-epoch` and `metergraph campaign ...`.

use std::process::ExitCode;
use std::time::Duration;

use api::view::{Campaign, NewCampaign};
use clap::Subcommand;

use super::{ApiArgs, Client, show};

/// `metergraph campaign ...`.
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Says how far a campaign is, and who must register anew.
    Show {
        /// Its number.
        campaign: u32,
        /// Waits until it is finished, so many seconds at most.
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// Tells no further device.
    Pause {
        /// Its number.
        campaign: u32,
    },
    /// Goes on.
    Resume {
        /// Its number.
        campaign: u32,
    },
}

/// Begins a campaign.
///
/// # Errors
/// For people: what the head-end says against it.
pub fn advance(delta: u8, wave: u32, group: Option<&str>, args: &ApiArgs) -> miette::Result<ExitCode> {
    let new = NewCampaign { delta, wave, group: group.map(str::to_owned) };
    let campaign: Campaign = Client::new(args)?.post("/v1/campaigns", &new)?;
    show(args.json, &campaign, text)
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: what the head-end says against it.
pub fn campaign(command: &CampaignCommand, args: &ApiArgs) -> miette::Result<ExitCode> {
    let client = Client::new(args)?;
    let campaign: Campaign = match command {
        CampaignCommand::Show { campaign, wait } => {
            let path = format!("/v1/campaigns/{campaign}");
            let mut left = *wait;
            loop {
                let seen: Campaign = client.get(&path, Duration::ZERO)?;
                if seen.state == "finished" || left == 0 {
                    break seen;
                }
                eprintln!("{}", text(&seen));
                std::thread::sleep(Duration::from_secs(1));
                left -= 1;
            }
        }
        CampaignCommand::Pause { campaign } => {
            client.post(&format!("/v1/campaigns/{campaign}/pause"), &())?
        }
        CampaignCommand::Resume { campaign } => {
            client.post(&format!("/v1/campaigns/{campaign}/resume"), &())?
        }
    };
    show(args.json, &campaign, text)
}

fn text(campaign: &Campaign) -> String {
    let Campaign { campaign: number, state, total, proved, pending, missed, reregister, .. } = campaign;
    let mut lines = vec![format!(
        "campaign {number} {state}: {proved} of {total} proved, {pending} pending, {missed} missed"
    )];
    lines.extend(reregister.iter().map(|dev| format!("must register anew: {dev}")));
    lines.join("\n")
}
