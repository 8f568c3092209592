import { Effect } from "effect"
import { CliExit } from "./exit.ts"

/** Characters of one value in a table. */
const widest = 60

const EXIT_BROKEN_PIPE = 141

/**
 * Text as it may go to a terminal: a model's words are not trusted to move the cursor or to change the title. Newlines
 * and tabs stay.
 */
export const printable = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F]/g, "")

/** A value in a table: on one line, and no wider than a column may be. */
export const cell = (text: string, most = widest): string => {
  const points = Array.from(printable(text.replaceAll(/[\n\r\t\u2028\u2029]+/g, " ")))
  return points.length <= most ? points.join("") : `${points.slice(0, most - 1).join("")}…`
}

/** For what is shown again and again in the same place. */
export const CLEAR_SCREEN = "\u001B[H\u001B[2J"

/** Writes to stdout and waits until it was taken. Ends quietly when nobody reads any more (`| head`). */
export const print = (text: string): Effect.Effect<void, CliExit> =>
  Effect.callback<void, CliExit>((resume) => {
    process.stdout.write(text, (error) =>
      resume(
        error === undefined || error === null
          ? Effect.void
          : Effect.fail(new CliExit({ code: EXIT_BROKEN_PIPE, message: "" }))
      ))
  })

export const printLine = (text: string): Effect.Effect<void, CliExit> => print(`${text}\n`)

/** Writes to stderr, for what is not the answer itself. */
export const remark = (text: string): Effect.Effect<void> =>
  Effect.sync(() => {
    process.stderr.write(text)
  })

const colours = process.env.NO_COLOR === undefined || process.env.NO_COLOR === ""

const paint = (code: number, stream: NodeJS.WriteStream) => (text: string): string =>
  colours && stream.isTTY === true ? `\u001B[${code}m${text}\u001B[0m` : text

/** Colours where they can be seen; `NO_COLOR` switches them off. */
export const onStderr = { dim: paint(2, process.stderr) }
export const onStdout = {
  bold: paint(1, process.stdout),
  dim: paint(2, process.stdout),
  green: paint(32, process.stdout),
  yellow: paint(33, process.stdout),
  red: paint(31, process.stdout)
}

/** `3s`, `4m 12s`, `2h 5m`, `3d 4h`. */
export const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.floor(seconds))
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60
  ]
  if (days > 0) return `${days}d ${hours}h`
  if (hours > 0) return `${hours}h ${minutes}m`
  return minutes > 0 ? `${minutes}m ${whole % 60}s` : `${whole}s`
}
