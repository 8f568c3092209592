import { execFile } from "node:child_process"
import * as path from "node:path"
import { promisify } from "node:util"
import { afterEach, describe, expect, it } from "vitest"
import { Lab } from "../support/lab.ts"
import { hasNatsServer, NatsServer, tokensIn, withoutNats } from "../support/natsServer.ts"
import { nodeBinary, program } from "../support/node.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"

const closers: Array<() => Promise<void>> = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const run = promisify(execFile)

const subject = "usage.records"

const open = async (nats: NatsServer, interval = "0.1") => {
  closers.push(() => nats.close())
  const lab = new Lab({
    env: { SIDECAR_BILLING_ENDPOINT: `nats://${nats.address}/${subject}`, SIDECAR_BATCH_INTERVAL_SECS: interval }
  })
  closers.push(() => lab.close())
  await lab.open()
  lab.worker.serveWith((call) => {
    const count = Number(call.headers["x-tokens"])
    call.send(...tokens(count), endOfStream(count))
    call.end()
  })
  return lab
}

/** Streams through the sidecar, and the tokens that their gateway received. */
const accountOf = (lab: Lab) => {
  const account = {
    delivered: 0,
    streams: 0,
    stream: async (count: number) => {
      const call = lab.gateway.call({
        requests: [request({ traceId: `trace-${account.streams++}`, tenant: "acme" })],
        metadata: [["x-tokens", String(count)]]
      })
      expect((await call.status).code).toBe(0)
      account.delivered += count
    }
  }
  return account
}

/** `sidecar usage pending` and `sidecar status`, beside the daemon. */
const asked = async (lab: Lab, ...args: ReadonlyArray<string>): Promise<string> => {
  const { stdout } = await run(nodeBinary, [program, ...args], { cwd: lab.folder, env: { NO_COLOR: "1" } })
  return stdout
}

describe.skipIf(!hasNatsServer)(`usage that goes to NATS JetStream${withoutNats}`, () => {
  it("waits for a stream, for room and for a server that was killed, says so, and is stored once", async () => {
    const nats = await NatsServer.start()
    const lab = await open(nats)
    const account = accountOf(lab)
    const readyz = async () => (await lab.sidecar.ready()).body["billing"]
    expect(await readyz()).toMatchObject({ status: "ok", reason: null })

    // No stream takes the subject.
    await account.stream(3)
    await lab.sidecar.log(
      "billing: the service does not take our reports (NATS: no stream takes the subject usage.records"
    )
    expect(await readyz()).toMatchObject({
      status: "failing",
      reason: "misconfigured",
      remedy: "create a stream for it (nats stream add), or correct the subject in [metering] billing_endpoint"
    })
    const status = await asked(lab, "status", "--addr", lab.sidecar.address)
    expect(status).toMatch(
      /^billing +failing for \S+: misconfigured: NATS: no stream takes the subject usage\.records/m
    )
    expect(status).toMatch(/^remedy +create a stream for it/m)
    expect(await asked(lab, "usage", "pending", "--journal", `${lab.folder}/usage.sqlite`)).toMatch(
      /^(waiting|in report) +1 records, 3 tokens/m
    )

    // It has room for five, and refuses new ones then.
    await nats.stream({ name: "USAGE", subjects: [subject], max_msgs: 5, discard: "new" })
    await lab.sidecar.log("billing: reports are accepted again")
    await Promise.all(Array.from({ length: 10 }, (_, index) => account.stream(index)))
    await lab.sidecar.log("billing: no report can be delivered (NATS 10077 maximum messages exceeded)")
    expect((await nats.holds("USAGE", 5)).length).toBe(5)
    const retries = await lab.sidecar.figures(
      "five are acknowledged",
      (seen) => seen.get(`sidecar_usage_records{state="acknowledged"}`) === 5
    )
    expect(retries.get(`sidecar_usage_records{state="waiting"}`)).toBe(6)
    expect(retries.get(`sidecar_usage_reports_total{result="retry"}`)).toBeGreaterThan(1)
    await nats.stream({ name: "USAGE", max_msgs: 10_000 })
    await nats.holds("USAGE", 11)

    // Killed while records come, and started again.
    const many = Promise.all(Array.from({ length: 40 }, () => account.stream(2)))
    await nats.holds("USAGE", 12)
    await nats.kill()
    await many
    await account.stream(7)
    await lab.sidecar.log("billing: no report can be delivered (NATS: connect ECONNREFUSED")
    await nats.start()
    const stored = await nats.holds("USAGE", 52)
    expect(stored.length).toBe(52)
    expect(new Set(stored.map(({ id }) => id)).size).toBe(52)
    expect(tokensIn(stored)).toBe(account.delivered)

    const figures = await lab.sidecar.figures(
      "everything is acknowledged",
      (seen) => seen.get(`sidecar_usage_tokens{state="acknowledged"}`) === account.delivered
    )
    expect(figures.get(`sidecar_usage_tokens{state="delivered"}`)).toBe(account.delivered)
    expect(figures.get(`sidecar_usage_records{state="set_aside"}`)).toBe(0)
    expect(await readyz()).toMatchObject({ status: "ok", reason: null })
  })

  it("is sent once more before the sidecar stops", async () => {
    const nats = await NatsServer.start()
    await nats.stream({ name: "USAGE", subjects: [subject] })
    const lab = await open(nats, "3600")
    const account = accountOf(lab)
    await account.stream(5)
    expect(await nats.stored("USAGE")).toEqual([])
    lab.sidecar.signal("SIGTERM")
    expect((await lab.sidecar.exited).code).toBe(0)
    expect(tokensIn(await nats.stored("USAGE"))).toBe(5)
  })
})

/** A sidecar of an application's own, and how many modules of NATS' client its process has loaded. */
const loading = `
  import { Effect, Layer } from "effect"
  import { createRequire } from "node:module"
  import { Sidecar } from "./src/index.ts"
  const [, billing_endpoint] = process.argv
  const metering = billing_endpoint === undefined ? {} : { billing_endpoint }
  await Effect.runPromise(Effect.scoped(Layer.build(Sidecar.make({ settings: { metering }, journal: "memory" }))))
  const loaded = Object.keys(createRequire(import.meta.url).cache).filter((file) => file.includes("@nats-io"))
  console.error(loaded.length)
`

describe("NATS' client", () => {
  it.each([[[], false], [["http://127.0.0.1:9/"], false], [["nats://127.0.0.1:9/usage"], true]] as const)(
    "is loaded only by a sidecar that bills to NATS: %j",
    async (args, wanted) => {
      const { stderr } = await run(nodeBinary, ["--input-type=module", "-e", loading, ...args], {
        cwd: path.join(import.meta.dirname, "../..")
      })
      expect(Number(stderr.trim()) > 0).toBe(wanted)
    }
  )
})
