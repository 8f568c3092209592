import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { makeJournalFile } from "../../src/internal/usage/journalFile.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import { spell } from "../../src/internal/usage/spelling.ts"
import type { Answer, Command } from "../../src/internal/usage/threadProtocol.ts"
import { record } from "../suites/usageSupport.ts"
import { run, temporaryFolder } from "./program.ts"

/** A journal in which a writer holds the lock, as a running daemon does. */
const makeWriter = (folder: string) => {
  const journal = path.join(folder, "usage.sqlite")
  const file = makeJournalFile({
    path: journal,
    durability: "crash",
    retention: { limit: 1000, countMerged: true },
    session: "s",
    sidecarId: "host-1",
    generation: 0
  }, makeRecordIds(Math.random))
  const ask = (command: Command): Answer => {
    const { result } = file.handle({ id: 1, now: Date.now(), command })
    if (result._tag !== "done") throw new Error(result.detail)
    return result.answer
  }
  onTestFinished(() => void ask({ op: "stop" }))
  ask({ op: "begin" })
  let sequence = 0
  const close = (...closed: ReadonlyArray<ReturnType<typeof record>>): void => {
    ask({
      op: "commit",
      group: {
        session: "s",
        sequence: ++sequence,
        at: Date.now(),
        opened: [],
        ended: [],
        closed: spell(closed),
        counts: undefined
      }
    })
  }
  return { journal, ask, close }
}

const hour = 3_600_000

describe("sidecar usage", () => {
  const world = () => {
    const writer = makeWriter(temporaryFolder())
    const now = Date.now()
    writer.close(
      record(10, { tenant: "acme", endedAt: now - 3 * 24 * hour }),
      record(5, { tenant: "acme", endedAt: now })
    )
    const { batch } = writer.ask({ op: "nextBatch", limit: 500 })
    writer.ask({ op: "settle", batchId: batch!.batchId, settlement: { _tag: "Acknowledged" } })
    writer.close(
      record(7, { tenant: "zoo, \"the\" 动物园", endedAt: now }),
      record(1, { id: "poison", tenant: "acme", outcome: "cancelled", endedAt: now })
    )
    return writer
  }
  const usage = (journal: string, ...args: ReadonlyArray<string>) => run(["usage", ...args, "--journal", journal])

  it("shows what was delivered by model, acknowledged or not, while the journal is being written", async () => {
    const { journal } = world()
    const { code, stdout } = await usage(journal)
    expect(stdout.trimEnd().split("\n").map((line) => line.split(/\s{2,}/))).toEqual([
      ["model", "streams", "tokens", "prompt_tokens"],
      ["qwen-7b", "4", "23", "0"],
      ["total", "4", "23", "0"]
    ])
    expect(code).toBe(0)
  })

  it("sums by several keys since a time, as JSON", async () => {
    const { journal } = world()
    const { stdout } = await usage(journal, "--by", "tenant,outcome", "--since", "1d", "--json")
    expect(JSON.parse(stdout)).toEqual([
      {
        tenant: "zoo, \"the\" 动物园",
        outcome: "completed",
        streams: 1,
        tokens: 7,
        prompt_tokens: 0,
        chunks: 7,
        bytes: 84
      },
      { tenant: "acme", outcome: "completed", streams: 1, tokens: 5, prompt_tokens: 0, chunks: 5, bytes: 60 },
      { tenant: "acme", outcome: "cancelled", streams: 1, tokens: 1, prompt_tokens: 0, chunks: 1, bytes: 12 }
    ])
  })

  it("prints CSV that a spreadsheet reads", async () => {
    const { journal } = world()
    const { stdout } = await usage(journal, "--by", "tenant", "--csv")
    expect(stdout.trimEnd().split("\r\n")).toEqual([
      "tenant,streams,tokens,prompt_tokens",
      "acme,3,16,0",
      "\"zoo, \"\"the\"\" 动物园\",1,7,0"
    ])
  })

  it("keeps the words of strangers in their row, in a table and for a spreadsheet", async () => {
    const writer = makeWriter(temporaryFolder())
    const now = Date.now()
    writer.close(
      record(4, { tenant: "two\nlines\r\u001B[31m", endedAt: now }),
      record(3, { tenant: "w".repeat(500), endedAt: now }),
      record(2, { tenant: "=HYPERLINK(\"http://x\")", endedAt: now }),
      record(1, { tenant: "\t-1+1", endedAt: now })
    )
    const table = (await usage(writer.journal, "--by", "tenant")).stdout.trimEnd().split("\n")
    expect(table.map((line) => line.split(/\s{2,}/))).toEqual([
      ["tenant", "streams", "tokens", "prompt_tokens"],
      ["two lines [31m", "1", "4", "0"],
      [`${"w".repeat(59)}…`, "1", "3", "0"],
      ["=HYPERLINK(\"http://x\")", "1", "2", "0"],
      [" -1+1", "1", "1", "0"],
      ["total", "4", "10", "0"]
    ])
    const { stdout } = await usage(writer.journal, "--by", "tenant", "--csv")
    expect(stdout.trimEnd().split("\r\n").slice(1)).toEqual([
      "two lines [31m,1,4,0",
      `${"w".repeat(500)},1,3,0`,
      "\"'=HYPERLINK(\"\"http://x\"\")\",1,2,0",
      "' -1+1,1,1,0"
    ])
  })

  it("offers what can be summed by to a shell", async () => {
    const { stdout } = await run(["--completions", "bash"])
    expect(stdout).toContain("'hour' 'tenant' 'player' 'model' 'outcome'")
  })

  it("finds the journal by the configuration", async () => {
    const { journal } = world()
    const { stdout } = await run(["usage", "--by", "none", "--json"], { env: { SIDECAR_JOURNAL_PATH: journal } })
    expect(JSON.parse(stdout)).toMatchObject([{ streams: 4, tokens: 23 }])
  })

  it("shows what waits to be reported", async () => {
    const { journal } = world()
    const { stdout } = await usage(journal, "pending", "--json")
    expect(JSON.parse(stdout)).toMatchObject({
      sidecarId: "host-1",
      waiting: { records: 2, tokens: 8 },
      acknowledged: { records: 2, tokens: 15 },
      delivered: { records: 4, tokens: 23 },
      setAside: { records: 0, tokens: 0 }
    })
    expect((await usage(journal, "pending")).stdout).toMatch(/^waiting +2 records, 8 tokens, the oldest for/m)
  })

  it("lists what was set aside and puts it back into the queue of the running sidecar", async () => {
    const { ask, journal } = world()
    const { batch } = ask({ op: "nextBatch", limit: 500 })
    ask({ op: "settle", batchId: batch!.batchId, settlement: { _tag: "SetAside", reason: "HTTP 400 no" } })
    const { stdout } = await usage(journal, "quarantine", "list")
    expect(stdout).toMatch(/^poison .*HTTP 400 no +1$/m)

    const wrong = await run(["usage", "quarantine", "retry", "--journal", journal, "poison", "unknown"])
    expect([wrong.code, wrong.stdout.slice(0, 9)]).toEqual([1, "1 records"])
    expect((await usage(journal, "quarantine", "retry")).stdout).toContain("1 records wait again")
    expect(ask({ op: "nextBatch", limit: 500 }).batch?.records.length).toBe(2)
    const { balance } = ask({ op: "balance" })
    expect([balance?.waiting, balance?.setAside]).toEqual([{ records: 2, tokens: 8 }, { records: 0, tokens: 0 }])
  })

  it.each([
    ["an unknown key", ["--by", "colour"], 64, "expected one of hour, tenant"],
    ["a time that is none", ["--since", "yesterday"], 64, "expected 1h, 7d or a date"],
    ["a journal that is not there", ["--journal", "/nowhere/usage.sqlite"], 66, "no usage journal at"]
  ])("answers %s in one line", async (_, args, code, words) => {
    const result = await run(["usage", ...args])
    expect(result.code).toBe(code)
    expect(result.stderr.trimEnd().split("\n")).toHaveLength(1)
    expect(result.stderr).toContain(words)
  })

  it("says what is wrong with a file that is no journal", async () => {
    const folder = temporaryFolder()
    fs.writeFileSync(path.join(folder, "x"), "not a database, only some text in a file ".repeat(100))
    const { code, stderr } = await usage(path.join(folder, "x"))
    expect([code, stderr.trimEnd().split("\n").length]).toEqual([66, 1])
    expect(stderr).toContain("not a database")
  })
})
