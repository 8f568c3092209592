import { isHost, parseBindAddress } from "./Address.ts"

/** Where usage records go, as `[metering] billing_endpoint` spells it. */
export type BillingEndpoint =
  | { readonly _tag: "Http"; readonly url: string }
  | {
    readonly _tag: "Nats"
    /** `tls://`: a server that offers no TLS is not talked to. */
    readonly tls: boolean
    /** Each `host:port`, an IPv6 host in brackets. */
    readonly servers: ReadonlyArray<string>
    readonly subject: string
    /** What stands before the `@`, percent-escapes undone; `undefined`: not readable, or none. */
    readonly user: string | undefined
    readonly password: string | undefined
  }

/** The port of a NATS server that names none. */
const natsPort = 4222

const natsAddress = /^(nats|tls):\/\/(?:([^@/\s]*)@)?([^@/\s]+)\/([^/\s]+)$/i

/** A subject that can be published to: no wildcards, no empty token, none of the server's own (`$SYS`, `$JS`). */
const isSubject = (text: string): boolean => /^(?!\$)[^\s.*>/?#]+(?:\.[^\s.*>/?#]+)*$/.test(text)

const serverOf = (text: string): string | undefined => {
  const withPort = /:\d+$/.test(text) && !/^[^[]*:[^:]*:/.test(text) ? text : `${text}:${natsPort}`
  const parsed = parseBindAddress(withPort)
  return parsed?._tag === "Tcp" && parsed.port > 0 && isHost(parsed.host) ? withPort : undefined
}

/** Undoes percent-escapes; `undefined` when they are none, or no UTF-8. */
export const unescaped = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Whether people see at once that the address is meant for NATS. */
export const isNatsAddress = (text: string): boolean => /^(?:nats|tls):/i.test(text)

/**
 * Reads an `http://` or `https://` URL, or `nats://[user:password@]host[:port][,host[:port]…]/subject` (`tls://…` for NATS
 * over TLS only); `undefined` when it is neither. One word before the `@` is a token, as NATS' own clients read it.
 */
export const parseBillingEndpoint = (text: string): BillingEndpoint | undefined => {
  if (!isNatsAddress(text)) {
    return /^https?:\/\/[^/\s]/i.test(text) && URL.canParse(text) ? { _tag: "Http", url: text } : undefined
  }
  const [, scheme = "", userInfo, hosts = "", subject = ""] = natsAddress.exec(text) ?? []
  const servers = hosts.split(",").map(serverOf).filter((server) => server !== undefined)
  if (servers.length === 0 || servers.length !== hosts.split(",").length || !isSubject(subject)) return undefined
  const [user, password] = userInfo === undefined ? [] : userInfo.split(/:(.*)/s, 2)
  return {
    _tag: "Nats",
    tls: scheme.toLowerCase() === "tls",
    servers,
    subject,
    user: user === undefined ? undefined : unescaped(user),
    password: password === undefined ? undefined : unescaped(password)
  }
}
