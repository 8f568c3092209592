import * as grpc from "@grpc/grpc-js"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { GrpcJsGateway } from "../grpcJsGateway.ts"
import { root } from "../node.ts"

/** A file of the self-made authority's (`test/fixtures/tls`). */
export const fixture = (name: string): string => path.join(root, "test/fixtures/tls", name)

/** Whose certificate a gateway shows: that of our authority, or one that nobody has signed. */
export type Identity = "client" | "stranger"

/** A grpc-js gateway that trusts the tests' authority, on TLS; for any address of this machine. */
export const secureGateway = (address: string, identity?: Identity): GrpcJsGateway => {
  const own = identity === undefined
    ? []
    : [fs.readFileSync(fixture(`${identity}.key`)), fs.readFileSync(fixture(`${identity}.crt`))]
  return new GrpcJsGateway(address, {
    channelOverride: new grpc.Channel(address, grpc.credentials.createSsl(fs.readFileSync(fixture("ca.crt")), ...own), {
      "grpc.ssl_target_name_override": "localhost",
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0
    })
  })
}

/** An address of this machine that is not its loopback; `undefined`: it has none. */
export const outerAddress = (): string | undefined =>
  Object.values(os.networkInterfaces()).flatMap((all) => all ?? [])
    .find((one) => one.family === "IPv4" && !one.internal)?.address
