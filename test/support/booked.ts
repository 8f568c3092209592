import * as path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { expect } from "vitest"
import { eventually } from "./events.ts"
import { type Lab, moved } from "./lab.ts"
import type { Figures } from "./sidecar.ts"

/** Outcome and status of every record in the lab's journal, oldest first. */
export const recordsOf = (lab: Lab): ReadonlyArray<{ readonly outcome: unknown; readonly grpc_status: unknown }> => {
  const journal = new DatabaseSync(path.join(lab.folder, "usage.sqlite"), { readOnly: true })
  try {
    return journal.prepare("SELECT outcome, grpc_status FROM records ORDER BY id").all().map((
      { grpc_status, outcome }
    ) => ({ outcome, grpc_status }))
  } finally {
    journal.close()
  }
}

/** What a lab has booked so far. */
export interface Books {
  readonly figures: Figures
  readonly records: number
  readonly lines: number
}

const endLines = (lab: Lab) => lab.sidecar.logs.all.filter((line) => line["msg"] === "stream ended")

export const openBooks = async (lab: Lab): Promise<Books> => ({
  figures: await lab.sidecar.settled(),
  records: recordsOf(lab).length,
  lines: endLines(lab).length
})

/** So many streams have ended since, all with this outcome and status: in the metrics, in the records, in the log. */
export const expectBooked = async (
  lab: Lab,
  books: Books,
  { code, codeName, count, outcome }: {
    readonly count: number
    readonly outcome: string
    readonly code: number
    readonly codeName: string
  }
): Promise<void> => {
  const after = await lab.sidecar.settled()
  expect(moved(books.figures, after, "sidecar_requests_total")).toBe(count)
  const outcomes = after.text.split("\n").flatMap((line) => {
    const series = /^sidecar_stream_outcomes_total\{outcome="([^"]*)"\}/.exec(line)
    return series === null ? [] : [[series[1], moved(books.figures, after, series[0])] as const]
  })
  expect(Object.fromEntries(outcomes.filter(([, more]) => more > 0))).toEqual({ [outcome]: count })
  const handled = `sidecar_grpc_handled_total{method="cy.llm.AiInference/StreamPredict",code="${codeName}"}`
  expect(moved(books.figures, after, handled)).toBe(count)
  expect(recordsOf(lab).slice(books.records)).toEqual(
    Array.from({ length: count }, () => ({ outcome, grpc_status: code }))
  )
  const lines = await eventually(`${count} lines in the log`, async () => {
    const more = endLines(lab).slice(books.lines)
    return more.length >= count ? more : undefined
  })
  expect(lines.map((line) => [line["outcome"], line["grpc_status"]])).toEqual(
    Array.from({ length: count }, () => [outcome, code])
  )
}
