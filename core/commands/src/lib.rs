//! Commands: intents, policy, signing, the desk's table, groups and campaigns.
