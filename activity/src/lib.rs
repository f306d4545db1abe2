//! The commands that a person types, as a library: collecting, exploring what was collected, proving the handler, and laying
//! out what ships.

pub mod case;
pub mod collect;
pub mod command;
pub mod explore;
pub mod geoip;
pub mod keep;
pub mod paths;
pub mod prove;
pub mod screen;
pub mod ship;
pub mod text_table;
mod visible;
