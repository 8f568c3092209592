import { Data, Effect, Layer } from "effect"
import { maskSecrets } from "../internal/config/show.ts"
import { billingAuth } from "../internal/outbound/billingAuth.ts"
import { type Broker, type BrokerMessage, type BrokerSession, BrokerTrouble } from "../internal/outbound/broker.ts"
import { cloudEvent, eventType } from "../internal/usage/cloudEvent.ts"
import { parseBillingEndpoint } from "../services/BillingEndpoint.ts"
import { BillingError, BillingSink, BillingVerdict, type RefusedRecord } from "../services/BillingSink.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"
import type { UsageBatch } from "../services/UsageJournal.ts"
import type { UsageRecord } from "../services/UsageRecord.ts"

/** A message is given up when it is not acknowledged after this. */
const answerLimit = "10 seconds"
/** A broker that took the connection and says nothing: nats-server does so when its disk is full. */
const silentRemedy = "look at the broker: its log, room on its disk, and whether the stream acknowledges (no_ack)"
/** Messages of one report that are on their way at once. */
const inFlight = 64

/** A record as a message: the same record always gives the same text. */
const messageOf = (format: Settings["metering"]["billing_format"], record: UsageRecord): BrokerMessage =>
  format === "cloudevents"
    ? { id: record.record_id, contentType: eventType, payload: JSON.stringify(cloudEvent(record)) }
    : { id: record.record_id, contentType: "application/json", payload: JSON.stringify(record) }

const later = ({ detail, reason, remedy }: BrokerTrouble): BillingVerdict =>
  BillingVerdict.Later({ reason, detail, remedy, retryAfterMillis: undefined })

/** What has become of the messages of one report. */
interface Account {
  readonly accepted: Array<string>
  readonly refused: Array<RefusedRecord>
  duplicates: number
  /** With it no further message of the report is sent. */
  trouble: BrokerTrouble | undefined
}

const verdictOf = ({ accepted, duplicates, refused, trouble }: Account, records: number): BillingVerdict =>
  accepted.length === records
    ? BillingVerdict.Accepted({ duplicate: records > 0 && duplicates === records })
    : accepted.length + refused.length > 0 || trouble === undefined
    ? BillingVerdict.Partly({ accepted, refused })
    : later(trouble)

/**
 * The policy over a broker that stores messages one by one: each record is a message with the `record_id` as its id, many
 * are on their way at once, and each is answered for by itself. The first sign of trouble ends the report: what has not been
 * sent then is not, and waits.
 */
export const makeSink = (broker: Broker, format: Settings["metering"]["billing_format"]): BillingSink["Service"] => {
  const publishAll = Effect.fnUntraced(function*(session: BrokerSession, batch: UsageBatch) {
    const account: Account = { accepted: [], refused: [], duplicates: 0, trouble: undefined }
    const publish = (record: UsageRecord): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (account.trouble !== undefined) return Effect.void
        return session.publish(messageOf(format, record)).pipe(
          Effect.timeoutOrElse({
            duration: answerLimit,
            orElse: () =>
              Effect.fail(
                new BrokerTrouble({
                  reason: "timeout",
                  detail: `no acknowledgement within ${answerLimit}`,
                  remedy: silentRemedy
                })
              )
          }),
          Effect.match({
            onSuccess: ({ duplicate }) => {
              account.accepted.push(record.record_id)
              if (duplicate) account.duplicates++
            },
            onFailure: (fault) => {
              if (fault._tag === "BrokerRefusal") {
                account.refused.push({ recordId: record.record_id, detail: fault.detail })
              } else account.trouble ??= fault
            }
          })
        )
      })
    yield* Effect.forEach(batch.records, publish, { concurrency: inFlight, discard: true })
    if (account.trouble?.reason === "timeout") yield* broker.forget
    return verdictOf(account, batch.records.length)
  })
  return {
    send: (batch) =>
      broker.session.pipe(
        Effect.flatMap((session) => publishAll(session, batch)),
        Effect.catchTag("BrokerTrouble", (trouble) => Effect.succeed(later(trouble)))
      )
  }
}

/** Why the client could not be loaded. */
class NotLoaded extends Data.TaggedError("NotLoaded")<{ readonly cause: unknown }> {}

const isMissingModule = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND"

/** The client is loaded here, when somebody bills by it: it is an optional peer of whoever embeds the sidecar. */
const loadClient = (address: string) =>
  Effect.tryPromise({
    try: () => import("../internal/outbound/natsBroker.ts"),
    catch: (cause) => new NotLoaded({ cause })
  }).pipe(
    Effect.catch(({ cause }) =>
      isMissingModule(cause)
        ? Effect.fail(
          new BillingError({
            key: "billing_endpoint",
            value: maskSecrets(address),
            detail: "needs NATS' client; npm install @nats-io/jetstream @nats-io/transport-node"
          })
        )
        : Effect.die(cause)
    )
  )

/** Publishes each record to the NATS JetStream subject at `[metering] billing_endpoint`. */
export const layer: Layer.Layer<BillingSink, BillingError, SidecarConfig> = Layer.effect(
  BillingSink,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const read = () => parseBillingEndpoint(metering.billing_endpoint ?? "")
    const first = read()
    const address = metering.billing_endpoint ?? ""
    if (first?._tag !== "Nats") {
      return yield* new BillingError({
        key: "billing_endpoint",
        value: maskSecrets(address),
        detail: "is no NATS address; write nats://host:port/subject"
      })
    }
    // It may change while the sidecar runs, to another one of NATS.
    const state = { address, endpoint: first }
    const endpoint = () => {
      if (state.address !== metering.billing_endpoint) {
        const now = read()
        if (now?._tag === "Nats") Object.assign(state, { address: metering.billing_endpoint, endpoint: now })
      }
      return state.endpoint
    }
    const auth = yield* billingAuth(metering)
    const { natsBroker } = yield* loadClient(address)
    const broker = yield* natsBroker({ endpoint, auth, name: "cy-llm-sidecar" })
    return BillingSink.of(makeSink(broker, metering.billing_format))
  })
)
