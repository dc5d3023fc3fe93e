//! What people and programs read: plan, status, history, report. Pure.

pub mod run;
