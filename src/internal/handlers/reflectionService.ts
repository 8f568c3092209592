import type { MethodDefinition, UntypedServiceImplementation } from "@grpc/grpc-js"
import { Effect } from "effect"
import { EventEmitter } from "node:events"
import { fileURLToPath } from "node:url"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import type { Status as GrpcStatus } from "../../services/Wire.ts"
import { packageFile } from "../packageFile.ts"
import { bidi } from "./bidi.ts"
import { withFileName, withMapEntryNames } from "./mapEntries.ts"
import type { UnaryOptions } from "./unary.ts"

export const REFLECTION_SERVICES = [
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection"
] as const

/** The files of the served packages, as an `import` of them is written. */
const fileNames: ReadonlyMap<string, string> = new Map([
  ["cy.llm", "ai_service.proto"],
  ["grpc.health.v1", "grpc/health/v1/health.proto"],
  ["grpc.reflection.v1", "grpc/reflection/v1/reflection.proto"],
  ["grpc.reflection.v1alpha", "grpc/reflection/v1alpha/reflection.proto"],
  ["google.protobuf", "google/protobuf/duration.proto"],
  ["xds.data.orca.v3", "xds/data/orca/v3/orca_load_report.proto"],
  ["xds.service.orca.v3", "xds/service/orca/v3/orca.proto"]
])

/** A reflection method by bytes: one response for one request. */
type Respond = (request: Uint8Array) => Effect.Effect<Uint8Array, GrpcStatus>

/**
 * The server stream that a handler of `@grpc/reflection` is given. The handler answers each `data` synchronously with
 * one `write`; the end of the call is not its business.
 */
class ReflectionStream extends EventEmitter {
  #response: object | undefined

  ask(request: object): object | undefined {
    this.#response = undefined
    this.emit("data", request)
    return this.#response
  }

  write(response: object): void {
    this.#response = response
  }

  end(): void {}
}

const host = (
  definition: MethodDefinition<object, object>,
  handler: UntypedServiceImplementation[string]
): Respond => {
  const stream = new ReflectionStream()
  Reflect.apply(handler, undefined, [stream])
  return (request) =>
    Effect.try({
      try: () => definition.responseSerialize(stream.ask(definition.requestDeserialize(Buffer.from(request))) ?? {}),
      catch: () => Status.make(Status.Code.INTERNAL, "Request is not a ServerReflectionRequest")
    })
}

/**
 * Loads the descriptors and the reflection machinery: about 25 MiB and a tenth of a second, so only when somebody asks.
 * Its handlers are made for a grpc-js server; here they are captured and hosted by path.
 */
const load = async (): Promise<ReadonlyMap<string, Respond>> => {
  const [{ ReflectionService }, { loadSync }, { protoPath }] = await Promise.all([
    import("@grpc/reflection"),
    import("@grpc/proto-loader"),
    import("../client/aiProto.ts")
  ])
  const others = [
    "health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
    "xds/service/orca/v3/orca.proto"
  ]
  const definitions = loadSync([protoPath, ...others.map((name) => fileURLToPath(packageFile(`proto/${name}`)))], {
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
    includeDirs: [fileURLToPath(packageFile("proto"))]
  })
  const files = new Map<Buffer, Buffer>()
  const checked = (file: Buffer): Buffer => {
    const known = files.get(file) ?? Buffer.from(withFileName(withMapEntryNames(file), fileNames))
    files.set(file, known)
    return known
  }
  for (const definition of Object.values(definitions)) {
    if (!Array.isArray(definition.fileDescriptorProtos)) continue
    definition.fileDescriptorProtos = definition.fileDescriptorProtos.map(checked)
  }
  const hosted = new Map<string, Respond>()
  new ReflectionService(definitions).addToServer({
    addService: (service, implementation) => {
      for (const [name, definition] of Object.entries(service)) {
        const handler = implementation[name]
        if (handler !== undefined) hosted.set(definition.path, host(definition, handler))
      }
    }
  })
  return hosted
}

/**
 * Server reflection v1 and v1alpha by `@grpc/reflection`. A symbol or file that is not known is an `error_response` in
 * the stream, as the protocol wants, never a failed call.
 */
export const reflectionRoutes = (
  options: UnaryOptions
): Effect.Effect<ReadonlyArray<readonly [string, CallHandler]>> =>
  Effect.map(
    Effect.cached(Effect.uninterruptible(Effect.promise(load))),
    (hosted) =>
      REFLECTION_SERVICES.map((service) => {
        const path = `/${service}/ServerReflectionInfo`
        const respond: Respond = (request) =>
          Effect.flatMap(hosted, (methods) =>
            methods.get(path)?.(request) ??
              Effect.fail(Status.make(Status.Code.UNIMPLEMENTED, "No such reflection method")))
        return [path, bidi(options, respond)] as const
      })
  )
