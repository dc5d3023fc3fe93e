//! What people and programs read: plan, status, history, report. Pure.

pub mod plan;
pub mod run;
