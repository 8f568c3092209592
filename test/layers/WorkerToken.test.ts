import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as WorkerToken from "../../src/layers/WorkerToken.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import type { CallStart, WorkerCall } from "../../src/services/Wire.ts"
import { WorkerChannel } from "../../src/services/WorkerChannel.ts"
import { settings } from "../support/fakeServices.ts"

const TOKEN = "s3cret-of-the-worker"

const call: WorkerCall = {
  write: () => true,
  halfClose: () => {},
  writable: Effect.void,
  headers: Effect.never,
  replies: Effect.never,
  isOver: false,
  over: Effect.never,
  takeWhile: () => Effect.never,
  whenHeaders: () => {}
}

/** A channel that remembers the calls that were opened on it, behind the layer under test. */
const channelWith = (server: Readonly<Record<string, unknown>>) =>
  Effect.gen(function*() {
    const opened: Array<CallStart> = []
    const channel = yield* WorkerChannel.pipe(
      Effect.provide(WorkerToken.layer.pipe(
        Layer.provide(Layer.succeed(WorkerChannel, {
          dial: Effect.succeed({
            open: (start: CallStart) => {
              opened.push(start)
              return Effect.succeed(call)
            },
            gone: Effect.never,
            isGoingAway: () => false,
            timesHeard: () => 0,
            openCalls: () => 0,
            ping: Effect.void
          }),
          addressChanges: Stream.empty,
          address: "unix:///w.sock"
        })),
        Layer.provide(Layer.succeed(SidecarConfig, settings({ server })))
      ))
    )
    const sent = (metadata: CallStart["metadata"]) =>
      Effect.scoped(
        Effect.flatMap(channel.dial, (link) => link.open({ path: "/a/b", metadata, timeoutMillis: undefined })).pipe(
          Effect.map(() => opened.pop()?.metadata)
        )
      )
    return { channel, sent }
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "cyt-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

describe("The worker's token", () => {
  it.effect("is added to a call without credentials, and replaces none", () =>
    Effect.gen(function*() {
      const { sent } = yield* channelWith({ worker_token: TOKEN })
      assert.deepStrictEqual(yield* sent({ "x-a": "1" }), { "x-a": "1", authorization: `Bearer ${TOKEN}` })
      assert.deepStrictEqual(yield* sent({ authorization: "Basic x" }), { authorization: "Basic x" })
      const none = yield* channelWith({})
      assert.deepStrictEqual(yield* none.sent({ "x-a": "1" }), { "x-a": "1" })
    }))

  it.effect("is read from a file, again with every dial, and stays when the file is gone", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "token")
      fs.writeFileSync(file, `${TOKEN}\n`)
      const { channel, sent } = yield* channelWith({ worker_token_file: file })
      assert.deepStrictEqual(yield* sent({}), { authorization: `Bearer ${TOKEN}` })
      fs.writeFileSync(file, "another")
      assert.deepStrictEqual(yield* sent({}), { authorization: "Bearer another" })
      fs.rmSync(file)
      assert.deepStrictEqual(yield* sent({}), { authorization: "Bearer another" })
      assert.isDefined((yield* Effect.scoped(channel.dial)).ping)
    }).pipe(Effect.scoped))

  it.effect("is told as a mistake when its file cannot be used, without a word of what it holds", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "token")
      const mistake = Effect.flip(channelWith({ worker_token_file: file }))
      assert.strictEqual((yield* mistake).message, `[server] worker_token_file: cannot read ${file}`)
      for (
        const [text, word] of [["", "no token"], [`${TOKEN} ${TOKEN}`, "no token"], [
          "t".repeat(1000),
          "lower"
        ]] as const
      ) {
        fs.writeFileSync(file, text)
        const { message } = yield* mistake
        assert.include(message, word)
        assert.notInclude(message, TOKEN)
        assert.notInclude(message, "\n")
      }
    }).pipe(Effect.scoped))
})
