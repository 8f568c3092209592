/** How much of a text a reader of the status page gets to see. */
const maxLength = 400

const afterSpaceOrQuote = "(?<=^|[\\s\"'`(=])"
const absolutePath = new RegExp(`${afterSpaceOrQuote}(?:unix:)?/(?:[^\\s"'\`()]*/)?([^\\s"'\`()/]+)`, "g")

/**
 * Makes a text for the operators' port out of one for the log: folders are left out (`…/worker.sock`), control
 * characters too, and it is one line of at most 400 characters. `paths` are known ones, which may hold spaces or be
 * relative.
 */
export const publicText = (paths: ReadonlyArray<string>) => (text: string): string => {
  const known = paths.filter((path) => path !== "").toSorted((a, b) => b.length - a.length)
  const withoutKnown = known.reduce((rest, path) => rest.replaceAll(path, `…/${path.split("/").at(-1) ?? ""}`), text)
  const shown = withoutKnown
    .replace(/[\p{Cc}\p{Cf}]+/gu, " ")
    .replace(absolutePath, "…/$1")
    .trim()
  return shown.length > maxLength ? `${shown.slice(0, maxLength - 1)}…` : shown
}
