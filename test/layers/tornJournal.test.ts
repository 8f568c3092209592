import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { makeJournalFile } from "../../src/internal/usage/journalFile.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import { spell } from "../../src/internal/usage/spelling.ts"
import type { Command } from "../../src/internal/usage/threadProtocol.ts"
import { record } from "../suites/usageSupport.ts"
import { seeded } from "../support/seeded.ts"

const folder = fs.mkdtempSync(join(tmpdir(), "torn-"))
const commits = 150
/** So many of them are in the file itself when it is torn, the others only in its log. */
const settled = 100
const image = join(folder, "image")
/** Length of the log after each commit that is only there: what lies beyond a cut was written by the commits whose end is beyond it. */
const logLengths: Array<number> = []

const openFile = (path: string, session: string) => {
  const file = makeJournalFile(
    {
      path,
      durability: "crash",
      retention: { limit: 10_000, countMerged: true },
      session,
      sidecarId: "torn",
      generation: 0
    },
    makeRecordIds(Math.random)
  )
  return (command: Command) => file.handle({ id: 1, now: 1000, command })
}

/** What a kill leaves: the file and its log, while the writer still has them open. */
beforeAll(() => {
  const live = join(folder, "live", "usage.sqlite")
  const ask = openFile(live, "before")
  ask({ op: "begin" })
  for (let sequence = 1; sequence <= commits; sequence++) {
    const reply = ask({
      op: "commit",
      group: {
        session: "before",
        sequence,
        at: sequence,
        opened: [],
        ended: [],
        closed: spell([record(sequence, { id: `record-${String(sequence).padStart(6, "0")}` })]),
        counts: undefined
      }
    })
    expect(reply.result._tag).toBe("done")
    if (sequence === settled) {
      const beside = new DatabaseSync(live)
      beside.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      beside.close()
    }
    if (sequence > settled) logLengths.push(fs.statSync(`${live}-wal`).size)
  }
  fs.cpSync(join(folder, "live"), image, { recursive: true })
  ask({ op: "stop" })
})
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

/** Opens a damaged image; answers the tokens of the records that are left, in order, and the files beside. */
const recover = (damage: (path: string) => void) => {
  const place = fs.mkdtempSync(join(folder, "case-"))
  const path = join(place, "usage.sqlite")
  for (const suffix of ["", "-wal"]) fs.copyFileSync(join(image, `usage.sqlite${suffix}`), path + suffix)
  damage(path)
  const ask = openFile(path, "after")
  const begun = ask({ op: "begin" })
  const taken = ask({ op: "nextBatch", limit: 1000 })
  const batch = taken.result._tag === "done" ? taken.result.answer.batch : undefined
  const fresh = ask({
    op: "commit",
    group: {
      session: "after",
      sequence: 1,
      at: 1,
      opened: [],
      ended: [],
      closed: spell([record(1)]),
      counts: undefined
    }
  })
  ask({ op: "stop" })
  const beside = fs.readdirSync(place).filter((name) => name.includes("corrupt"))
  fs.rmSync(place, { recursive: true })
  return {
    begun: begun.result._tag,
    written: fresh.result._tag,
    tokens: (batch?.records ?? []).map((one) => one.tokens_generated),
    beside,
    notices: [...begun.notices, ...taken.notices].filter(({ level }) => level === "error").length
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describe("a journal that was torn", () => {
  it("is whole after a kill", () => {
    expect(recover(() => undefined)).toMatchObject({ begun: "done", tokens: upTo(commits), beside: [] })
  })

  it.each(Array.from({ length: 60 }, (_, seed) => seed))(
    "loses nothing but the commits beyond the cut when its log ends early (seed %i)",
    (seed) => {
      const length = logLengths.at(-1)!
      // Half of the cuts fall into the last page, the others anywhere.
      const back = seeded(seed)() * (seed % 2 === 0 ? 4096 : length)
      const cut = Math.floor(length - back)
      const found = recover((path) => fs.truncateSync(`${path}-wal`, cut))
      const certain = settled + logLengths.filter((end) => end <= cut).length
      expect(found.begun).toBe("done")
      expect(found.written).toBe("done")
      expect(found.tokens.length).toBeGreaterThanOrEqual(certain)
      expect(found.tokens).toEqual(upTo(found.tokens.length))
      expect(found.beside).toEqual([])
    }
  )

  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "opens when the file itself ends early, set aside and said aloud unless the log makes up for it (seed %i)",
    (seed) => {
      const size = fs.statSync(join(image, "usage.sqlite")).size
      const cut = Math.floor(seeded(1000 + seed)() * size)
      const found = recover((path) => fs.truncateSync(path, cut))
      expect(found.begun).toBe("done")
      expect(found.written).toBe("done")
      if (found.beside.length === 0) expect(found.tokens).toEqual(upTo(commits))
      else expect([found.tokens, found.notices]).toEqual([[], 1])
    }
  )

  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "opens when bytes of the file were overwritten (seed %i)",
    (seed) => {
      const random = seeded(2000 + seed)
      const found = recover((path) => {
        const size = fs.statSync(path).size
        const file = fs.openSync(path, "r+")
        fs.writeSync(
          file,
          Buffer.from(upTo(700).map(() => random() * 256)),
          0,
          700,
          Math.floor(random() * (size - 700))
        )
        fs.closeSync(file)
      })
      expect(found.begun).toBe("done")
      expect(found.written).toBe("done")
    }
  )
})
