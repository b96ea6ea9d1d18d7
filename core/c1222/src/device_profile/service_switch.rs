//! The service switch: no standard procedure works it, so a profile says which of the manufacturer's do.

use super::{DeviceProfile, Field};
use crate::tables::{ProcedureId, TableId};

/// How a device's service switch is worked and seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSwitch {
    /// Opens it.
    pub disconnect: ProcedureCall,
    /// Closes it.
    pub connect: ProcedureCall,
    /// Lets the customer close it by hand, where the device can do that.
    pub arm: Option<ProcedureCall>,
    /// Where its position is shown, where it is.
    pub state: Option<SwitchState>,
}

/// A procedure with its parameters, as written to ST7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcedureCall {
    /// The procedure.
    pub procedure: ProcedureId,
    /// Its parameters.
    pub parameters: Vec<u8>,
}

/// Where the position of the switch is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchState {
    /// The table.
    pub table: TableId,
    /// The field in it.
    pub field: Field,
    /// Its count when the switch is open.
    pub open: i64,
    /// Its count when the switch is closed.
    pub closed: i64,
    /// Its count when the switch is open and armed.
    pub armed: Option<i64>,
}

/// What a call asks of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwitchAction {
    /// Open it.
    Disconnect,
    /// Close it.
    Connect,
    /// Let the customer close it.
    Arm,
}

/// How the switch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwitchPosition {
    /// No load is supplied.
    Open,
    /// The load is supplied.
    Closed,
    /// No load is supplied; the customer may close it.
    Armed,
}

impl ServiceSwitch {
    /// The call that does this; `None` where the device cannot.
    #[must_use]
    pub fn call(&self, action: SwitchAction) -> Option<&ProcedureCall> {
        match action {
            SwitchAction::Disconnect => Some(&self.disconnect),
            SwitchAction::Connect => Some(&self.connect),
            SwitchAction::Arm => self.arm.as_ref(),
        }
    }

    /// What a procedure with these parameters asks of the switch.
    #[must_use]
    pub fn action(&self, procedure: ProcedureId, parameters: &[u8]) -> Option<SwitchAction> {
        [SwitchAction::Disconnect, SwitchAction::Connect, SwitchAction::Arm].into_iter().find(|action| {
            self.call(*action)
                .is_some_and(|call| call.procedure == procedure && call.parameters == parameters)
        })
    }
}

impl SwitchState {
    /// The count that shows a position; `None` where the device does not show it.
    #[must_use]
    pub fn count(&self, position: SwitchPosition) -> Option<i64> {
        match position {
            SwitchPosition::Open => Some(self.open),
            SwitchPosition::Closed => Some(self.closed),
            SwitchPosition::Armed => self.armed,
        }
    }
}

impl DeviceProfile {
    /// The position that the data of the switch's table shows; `None` when it shows none that is known.
    #[must_use]
    pub fn switch_position(&self, data: &[u8]) -> Option<SwitchPosition> {
        let state = self.service_switch.as_ref()?.state.as_ref()?;
        let count = state.field.quantity.count(self.format.order, state.field.octets(data)?)?;
        [SwitchPosition::Open, SwitchPosition::Closed, SwitchPosition::Armed]
            .into_iter()
            .find(|position| state.count(*position).is_some_and(|shown| i128::from(shown) == count))
    }
}
