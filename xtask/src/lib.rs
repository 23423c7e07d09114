//! Chores of the project. For now its tests alone, which hold the structure: `tests/`.
