import type { StatusWord } from "./stage.ts"

/** What a gateway saw, before it is put into words. */
export interface Seen {
  readonly replies: ReadonlyArray<{ readonly chunk: string; readonly endOfStream: boolean; readonly index: number }>
  readonly left: boolean
  readonly status: {
    readonly code: number
    readonly message: string
    readonly trailer: (key: string) => string | undefined
    readonly trailersOnly: boolean
  } | undefined
}

const codes: Readonly<Record<number, string>> = {
  0: "OK",
  4: "DEADLINE_EXCEEDED",
  8: "RESOURCE_EXHAUSTED",
  13: "INTERNAL",
  14: "UNAVAILABLE"
}

const said = ({ status }: Seen): ReadonlyArray<string> => {
  if (status === undefined) return ["no status"]
  const { code, message, trailer, trailersOnly } = status
  if (code === 0) return ["OK"]
  const delivered = trailer("cy-chunks-delivered")
  const safe = trailer("cy-safe-to-retry")
  const pushback = trailer("grpc-retry-pushback-ms")
  const details = trailer("grpc-status-details-bin")
  return [
    codes[code] ?? String(code),
    // The times in a message depend on chance.
    JSON.stringify(message.replaceAll(/\d+s\b/g, "Ns")),
    trailer("cy-reason") ?? "without reason",
    ...(delivered === undefined ? [] : [`delivered=${delivered}`]),
    ...(safe === undefined ? [] : [`safe=${safe}`]),
    ...(pushback === undefined && details === undefined ? [] : [
      Number(pushback) > 0 && details !== undefined ? "hint" : `half a hint: ${pushback} ${details}`
    ]),
    ...(trailersOnly ? ["trailers-only"] : [])
  ]
}

/** `t0 t1 <end> OK`, `t0 UNAVAILABLE "…" worker_lost delivered=1 safe=false`, `left`. */
export const inWords = (seen: Seen): string => {
  const chunks = seen.replies.map(({ chunk, endOfStream }) => `${chunk.trim()}${endOfStream ? "<end>" : ""}`)
  const gapless = seen.replies.every(({ index }, at) => index === at)
  return [...chunks, ...(gapless ? [] : ["with a gap in index"]), ...(seen.left ? ["left"] : said(seen))].join(" ")
}

/** The worker's status as it changed: no word twice in a row, of a row of Disconnected the first reason. */
export class StatusHistory {
  readonly words: Array<string> = []

  push(tag: StatusWord, reason = ""): void {
    if (this.words.length === 0 && tag !== "Connected") return
    if (this.words.at(-1)?.split(" ")[0] === tag) return
    this.words.push(reason === "" ? tag : `${tag} ${reason}`)
  }

  is(tag: StatusWord): boolean {
    return this.words.at(-1)?.split(" ")[0] === tag
  }
}
