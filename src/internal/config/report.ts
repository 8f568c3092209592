import type { ConfigProblem, Settings } from "../../services/SidecarConfig.ts"
import { formatProblem } from "../../services/SidecarConfig.ts"
import { type ConfigKey, keys, sections } from "./keys.ts"
import type { Origins } from "./resolve.ts"
import { HIDDEN, maskSecrets, showValue } from "./show.ts"

/** What is reported: the settings in force, and where they come from. */
export interface Report {
  readonly settings: Settings
  readonly origins: Origins
  readonly file: string | undefined
  readonly warnings: ReadonlyArray<string>
  readonly ignored: ReadonlyArray<string>
}

interface Row {
  readonly key: ConfigKey
  readonly value: unknown
  readonly origin: string
}

const rowsOf = ({ origins, settings }: Report, section: string): ReadonlyArray<Row> => {
  const values = new Map<string, unknown>(
    Object.entries(settings).flatMap(([name, table]) => name === section ? Object.entries(table) : [])
  )
  return keys
    .filter((key) => key.section === section && (!key.hidden || values.has(key.key)))
    .map((key) => ({
      key,
      value: key.secret && values.has(key.key) ? HIDDEN : values.get(key.key),
      origin: origins[key.key] ?? "default"
    }))
}

/** Columns of a text in a terminal: Chinese, Japanese and Korean characters take two. */
const width = (text: string): number =>
  Array.from(text).reduce(
    (sum, char) =>
      sum + (/[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60]/u.test(char) ? 2 : 1),
    0
  )

const pad = (text: string, columns: number): string => text + " ".repeat(Math.max(0, columns - width(text)))

const longestAligned = 44

type Paint = (style: "bold" | "dim" | "set", text: string) => string

const codes = { bold: "1", dim: "2", set: "36" } as const

const inColor: Paint = (style, text) => `\u001B[${codes[style]}m${text}\u001B[0m`
const plain: Paint = (_, text) => text

const summary = (report: Report): string => {
  const origins = keys.map((key) => report.origins[key.key] ?? "default")
  const defaults = origins.filter((origin) => origin === "default").length
  const fromFile = origins.filter((origin) => origin === report.file).length
  const fromEnv = origins.length - defaults - fromFile
  const file = report.file === undefined ? "no file" : `${fromFile} from ${report.file}`
  return `The configuration is right: ${file}, ${fromEnv} from the environment, the rest by default.`
}

/** The settings as TOML that can be pasted into a file, aligned, each with its origin as a comment. */
export const renderText = (report: Report, options?: { readonly color?: boolean | undefined }): string => {
  const paint = options?.color === true ? inColor : plain
  const keyColumns = Math.max(...keys.map((key) => key.key.length)) + 2
  const shown = (row: Row): string => row.value === undefined ? "none" : showValue(row.value)
  const all = sections.map((section) => ({ section, rows: rowsOf(report, section) }))
  const valueColumns = Math.max(
    ...all.flatMap(({ rows }) => rows.map((row) => width(shown(row))).filter((columns) => columns <= longestAligned))
  )
  const line = (row: Row): string => {
    const name = pad(row.value === undefined ? `# ${row.key.key}` : row.key.key, keyColumns)
    const origin = paint(row.origin === "default" ? "dim" : "set", `# ${row.origin}`)
    const value = pad(shown(row), valueColumns)
    return row.value === undefined
      ? `${paint("dim", `${name} = ${value}`)}  ${origin}`
      : `${name} = ${value}  ${origin}`
  }
  return [
    paint("dim", `# ${summary(report)}`),
    ...all.flatMap(({ rows, section }) => ["", paint("bold", `[${section}]`), ...rows.map(line)])
  ].join("\n")
}

const masked = (value: unknown): unknown =>
  typeof value === "string" ? maskSecrets(value) : Array.isArray(value) ? value.map(masked) : value

/** The settings for programs: by section and key `{ value, origin }`; `value` is null where there is none. */
export const renderJson = (report: Report): string =>
  JSON.stringify(
    {
      ok: true,
      file: report.file ?? null,
      settings: Object.fromEntries(sections.map((section) => [
        section,
        Object.fromEntries(
          rowsOf(report, section).map(({ key, origin, value }) => [
            key.key,
            { value: masked(value) ?? null, origin }
          ])
        )
      ])),
      warnings: report.warnings,
      ignored: report.ignored
    },
    undefined,
    2
  )

/** The mistakes for programs; `line` is what people read. */
export const renderProblems = (problems: ReadonlyArray<ConfigProblem>): string =>
  JSON.stringify(
    { ok: false, problems: problems.map((problem) => ({ ...problem, line: formatProblem(problem) })) },
    undefined,
    2
  )
