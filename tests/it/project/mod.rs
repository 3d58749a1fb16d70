//! Checks of the project itself: its layers, its documentation, its schema.

mod cases;
mod distribution;
mod errors;
mod layering;
mod limits;
mod settings;
mod source_tree;
