import { JetStreamApiError } from "@nats-io/jetstream"
import { errors } from "@nats-io/transport-node"
import { BrokerRefusal, BrokerTrouble } from "./broker.ts"
import { foreignWords } from "./conceal.ts"
import { innermostCause } from "./innermostCause.ts"
import { tlsRemedy } from "./tlsRemedy.ts"

/** What a fault is told with. */
export interface NatsFaultContext {
  readonly subject: string
  /** The key by which the server knows us. */
  readonly credentialsKey: string
  readonly secrets: ReadonlyArray<string>
  /** TLS is demanded. */
  readonly secure: boolean
}

/** So much of a server's text is kept. Characters. */
const detailLimit = 200

/** The message is larger than its stream takes, for ever (JSStreamMessageExceedsMaximumErr). */
const messageTooLarge = 10_054
/** No room: of the stream, the account or the server (JSStreamStoreFailedF and its kin). */
const noRoom: ReadonlySet<number> = new Set([10_002, 10_023, 10_028, 10_047, 10_077, 10_122])

/** The client does not export the class. */
const isNotEnabled = (error: unknown): error is Error => error instanceof Error && error.name === "JetStreamNotEnabled"

const isNoResponders = (error: unknown): boolean =>
  error instanceof errors.NoRespondersError
  || (error instanceof errors.RequestError && error.isNoResponders())
  || (isNotEnabled(error) && isNoResponders(error.cause))

/** What a failed connect or publish means (docs/billing.md has the table). */
export const natsFault = (error: unknown, context: NatsFaultContext): BrokerTrouble | BrokerRefusal => {
  const { credentialsKey, secrets, secure, subject } = context
  const words = (text: string) => foreignWords(text, detailLimit, secrets)
  const misconfigured = (detail: string, remedy: string) =>
    new BrokerTrouble({ reason: "misconfigured", detail, remedy })
  if (isNoResponders(error)) {
    return misconfigured(
      `NATS: no stream takes the subject ${subject}, or JetStream is off`,
      `create a stream for it (nats stream add), or correct the subject in [metering] billing_endpoint`
    )
  }
  if (error instanceof errors.RequestError && error.cause instanceof Error) return natsFault(error.cause, context)
  if (isNotEnabled(error)) {
    return misconfigured(
      "NATS: JetStream is not enabled for this account",
      "enable it, or check [metering] billing_endpoint"
    )
  }
  if (error instanceof JetStreamApiError) {
    const detail = words(`NATS ${error.code} ${error.message}`)
    if (error.code === messageTooLarge) return new BrokerRefusal({ detail })
    if (noRoom.has(error.code)) {
      return new BrokerTrouble({
        reason: "full",
        detail,
        remedy: "make room: the stream's max_bytes and max_msgs, the server's max_file_store, its disk"
      })
    }
    return error.status >= 500
      ? new BrokerTrouble({ reason: "error", detail, remedy: undefined })
      : misconfigured(detail, "check the stream's configuration")
  }
  if (error instanceof errors.PermissionViolationError) {
    return misconfigured(
      words(`NATS: ${error.message}`),
      `allow this user to publish to ${subject} and to subscribe to _INBOX.>`
    )
  }
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return misconfigured(words(`NATS: ${error.message}`), `check [metering] ${credentialsKey}`)
  }
  if (error instanceof errors.InvalidArgumentError && error.message.includes("max_payload")) {
    return new BrokerRefusal({ detail: "NATS: larger than the server's max_payload" })
  }
  if (error instanceof errors.TimeoutError) {
    return new BrokerTrouble({ reason: "timeout", detail: "NATS: no answer", remedy: undefined })
  }
  const detail = words(innermostCause(error))
  if (/does not support\W+tls|tls\W.*not available/i.test(detail)) {
    return misconfigured(
      `NATS: ${detail}`,
      "enable TLS on the server, or write nats:// for plaintext in [metering] billing_endpoint"
    )
  }
  return new BrokerTrouble({ reason: "no_answer", detail: `NATS: ${detail}`, remedy: tlsRemedy(detail, secure) })
}
