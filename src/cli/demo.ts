import { Effect, Schedule, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Child from "./demo/child.ts"
import { figuresOf, moved, renderMoved } from "./demo/figures.ts"
import { explain, reachable } from "./peer.ts"
import { onStdout, print, printable, printLine } from "./terminal.ts"

const { DemoFailed } = Child

const MODEL = "qwen-7b"
/** How long the worker may take to be connected, and the figures to show a stream that has ended. */
const WAIT_MILLIS = 20_000

const flags = {
  prompt: Flag.String("prompt").pipe(
    Flag.withDescription("What to say to the stand-in model"),
    Flag.withDefault("你好，边车！")
  ),
  stay: Flag.Boolean("stay").pipe(
    Flag.withDescription("Keep worker and sidecar up until Ctrl-C, and print what to try"),
    Flag.withDefault(false)
  )
}

/** How this program is called in the folder that the user is in. */
const self = import.meta.url.endsWith(".ts") ? "npm run -s sidecar --" : "sidecar"

const folder = Effect.acquireRelease(
  Effect.sync(() => {
    const made = fs.mkdtempSync(path.join(os.tmpdir(), "sidecar-demo-"))
    const remove = () => fs.rmSync(made, { recursive: true, force: true })
    process.on("exit", remove)
    return { path: made, remove }
  }),
  ({ remove }) =>
    Effect.sync(() => {
      remove()
      process.off("exit", remove)
    })
)

const get = (url: string): Effect.Effect<{ readonly status: number; readonly body: string }, Child.DemoFailed> =>
  Effect.tryPromise({
    try: async (signal) => {
      const response = await fetch(url, { signal })
      return { status: response.status, body: await response.text() }
    },
    catch: (cause) => new DemoFailed({ message: `${url} does not answer: ${String(cause)}` })
  })

/** Asks until `accept` gives an answer: the two processes tell each other what happened, nobody tells us. */
const until = <A>(url: string, what: string, accept: (answer: { status: number; body: string }) => A | undefined) =>
  get(url).pipe(
    Effect.map(accept),
    Effect.filterOrFail((found) => found !== undefined, () => new DemoFailed({ message: `${what} (${url})` })),
    Effect.retry({ schedule: Schedule.max([Schedule.spaced("50 millis"), Schedule.during(WAIT_MILLIS)]) })
  )

const addressOf = (line: Child.LogLine): Effect.Effect<string, Child.DemoFailed> =>
  typeof line.address === "string"
    ? Effect.succeed(reachable(line.address))
    : Effect.fail(new DemoFailed({ message: `no address in the log line ${JSON.stringify(line)}` }))

const step = (name: string, text: string) =>
  printLine(`${onStdout.green("▸")} ${onStdout.bold(name.padEnd(8))} ${text}`)

/** Both processes, each with its own end of the Unix socket, and the sidecar on free TCP ports. */
const startBoth = Effect.gen(function*() {
  const cwd = (yield* folder).path
  const socket = `unix://${path.join(cwd, "worker.sock")}`
  const worker = yield* Child.start("worker", [
    "worker",
    "--socket",
    socket,
    "--loading-notices",
    "3",
    "--tokens-per-second",
    "40"
  ], { cwd, env: {} })
  yield* worker.awaitLine("stand-in worker listening")
  yield* step("worker", `a stand-in on ${socket} (pid ${worker.pid})`)

  const sidecar = yield* Child.start("sidecar", ["run"], {
    cwd,
    env: {
      SIDECAR_BIND_ADDR: "127.0.0.1:0",
      SIDECAR_METRICS_HOST: "127.0.0.1",
      SIDECAR_METRICS_PORT: "0",
      SIDECAR_WORKER_UDS: socket,
      SIDECAR_JOURNAL_PATH: path.join(cwd, "usage.sqlite"),
      SIDECAR_LOG_FORMAT: "json",
      SIDECAR_LOG_LEVEL: "info"
    }
  })
  const grpc = yield* Effect.flatMap(sidecar.awaitLine("gRPC server listening"), addressOf)
  const http = `http://${yield* Effect.flatMap(sidecar.awaitLine("metrics server listening"), addressOf)}`
  yield* step("sidecar", `gRPC on ${grpc}, ${http}/metrics (pid ${sidecar.pid})`)
  yield* until(`${http}/readyz`, "the sidecar did not become ready", ({ status }) => status === 200 ? true : undefined)
  yield* step("ready", "the worker is connected")
  return { grpc, http, worker, sidecar }
})

/** Streams one answer to the terminal; tells how many tokens came. */
const streamAnswer = (grpc: string, prompt: string) =>
  Effect.gen(function*() {
    const AiClient = yield* Effect.promise(() => import("../internal/client/aiClient.ts"))
    const client = yield* AiClient.make({ address: grpc })
    let tokens = 0
    yield* client.predict({
      model_id: MODEL,
      prompt,
      metadata: { trace_id: randomUUID(), tenant: "demo", player_id: "", locale: "", extra: {} }
    }).pipe(
      Stream.runForEach(({ chunk }) => {
        if (chunk.startsWith("[模型加载]")) return printLine(onStdout.dim(chunk.trimEnd()))
        if (chunk !== "") tokens++
        return print(printable(chunk))
      }),
      Effect.catchTag("CallFailed", (error) => Effect.fail(explain(error, grpc)))
    )
    yield* printLine("")
    return tokens
  })

const next = (grpc: string, http: string, worker: number): string =>
  [
    `  ${self} predict --addr ${grpc} --model ${MODEL} "你好"`,
    `  ${self} status --addr ${grpc}`,
    `  curl -s ${http}/metrics | grep ^sidecar_`,
    `  curl -s ${http}/readyz`,
    `  grpcurl -plaintext ${grpc} list`,
    `  grpcurl -plaintext ${grpc} cy.llm.AiInference/Health`,
    `  grpcurl -plaintext -d '{"model_id":"${MODEL}","prompt":"hello"}' ${grpc} cy.llm.AiInference/StreamPredict`,
    `  kill -USR1 ${worker}    # the worker reloads for 10 s; streams wait for it`
  ].join("\n")

/** `sidecar demo`: worker and sidecar as processes of their own, one streamed answer, and the figures that moved. */
export const demo = Command.make("demo", flags, ({ prompt, stay }) =>
  Effect.gen(function*() {
    const { grpc, http, worker } = yield* startBoth
    const before = yield* until(`${http}/metrics`, "no metrics", ({ body }) => figuresOf(body))
    yield* printLine(`\n${onStdout.dim(`$ sidecar predict --addr ${grpc} --model ${MODEL} "${prompt}"`)}`)
    const tokens = yield* streamAnswer(grpc, prompt)
    if (tokens === 0) return yield* new DemoFailed({ message: "the answer has no tokens" })

    const counted = (figures: ReadonlyMap<string, number>) =>
      figures.get("sidecar_requests_success_total") === 1 && figures.get("sidecar_tokens_processed_total") === tokens
    const after = yield* until(
      `${http}/metrics`,
      `the figures do not show one completed request of ${tokens} tokens`,
      ({ body }) => counted(figuresOf(body)) ? figuresOf(body) : undefined
    )
    yield* printLine(`\n${onStdout.bold("What moved in /metrics")}\n${renderMoved(moved(before, after))}`)
    if (!stay) {
      return yield* printLine(`\nNext: ${self} demo --stay keeps both up, with a status page and commands to try.`)
    }
    yield* printLine(`\n${onStdout.bold("Both stay up until Ctrl-C.")} The status page: ${onStdout.bold(`${http}/`)}`)
    yield* printLine("Try, from another terminal:")
    yield* printLine(next(grpc, http, worker.pid))
    return yield* Effect.never
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription("Start a stand-in worker and a sidecar, stream one answer and show the metrics that moved")
  )
