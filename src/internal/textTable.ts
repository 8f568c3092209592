/** How wide a text stands in a terminal: most East Asian characters take two cells. */
const cells = (text: string): number => {
  let width = 0
  for (const char of text) {
    width += /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60]/u.test(char) ? 2 : 1
  }
  return width
}

/** Rows of equal length in aligned columns; the last `numeric` columns are set to the right. */
export const textTable = (rows: ReadonlyArray<ReadonlyArray<string>>, numeric: number): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => cells(row[column] ?? ""))))
  return rows.map((row) =>
    row.map((value, column) => {
      const space = " ".repeat((widths[column] ?? 0) - cells(value))
      return column >= row.length - numeric ? space + value : value + space
    }).join("  ").trimEnd()
  ).join("\n")
}

/**
 * A text that others chose, as a spreadsheet may be given it: what it would take for a formula begins with an apostrophe,
 * and control characters (a terminal's among them) are spaces.
 */
const harmless = (text: string): string => {
  const plain = text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " ")
  return /^[\s]*[=+\-@]/.test(plain) ? `'${plain}` : plain
}

/** Comma-separated values (RFC 4180), a line for each row; numbers are given as numbers. */
export const csv = (rows: ReadonlyArray<ReadonlyArray<string | number>>): string =>
  rows.map((row) =>
    row.map((value) => {
      const text = typeof value === "number" ? String(value) : harmless(value)
      return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text
    }).join(",")
  ).join("\r\n")
