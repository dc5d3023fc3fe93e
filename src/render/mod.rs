//! What people and programs read: plan, status, history, report. Pure.

pub mod audit;
pub mod boot_test;
pub mod history;
pub mod plan;
pub mod run;
pub mod status;
pub mod verify;
