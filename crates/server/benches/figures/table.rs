//! How a table looks.

/// Prints a title and the names of the columns.
pub(crate) fn head(title: &str, columns: &[&str]) {
    println!();
    row(title, columns);
}

/// Prints a row.
pub(crate) fn row(name: &str, cells: &[&str]) {
    let cells: String = cells.iter().map(|cell| format!("{cell:>13}")).collect();
    println!("{name:<46}{cells}");
}

/// A figure, to tenths.
pub(crate) fn one(value: f64) -> String {
    format!("{value:.1}")
}
