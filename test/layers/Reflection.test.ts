import { assert, describe, it } from "@effect/vitest"
import { loadSync, type MethodDefinition } from "@grpc/proto-loader"
import { Effect, Fiber, Layer } from "effect"
import { createRequire } from "node:module"
import descriptor from "protobufjs/ext/descriptor/index.js"
import * as SidecarRoutesLayer from "../../src/layers/SidecarRoutes.ts"
import { SidecarRoutes } from "../../src/services/GrpcServer.ts"
import { Code } from "../../src/services/Status.ts"
import { complete, FakeCall, serve } from "../support/fakeCall.ts"
import { World } from "../support/fakeServices.ts"

interface Answer {
  readonly messageResponse: string
  readonly listServicesResponse?: { readonly service: ReadonlyArray<{ readonly name: string }> }
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: ReadonlyArray<Buffer> }
  readonly errorResponse?: { readonly errorCode: number; readonly errorMessage: string }
}

/** The public definition of reflection, as a client has it. */
const definitionOf = (version: "v1" | "v1alpha"): MethodDefinition<object, Answer> => {
  const file = createRequire(import.meta.url).resolve(
    `@grpc/reflection/build/proto/grpc/reflection/${version}/reflection.proto`
  )
  const service = loadSync(file, { oneofs: true, defaults: false })[`grpc.reflection.${version}.ServerReflection`]
  return (service as unknown as Record<string, MethodDefinition<object, Answer>>).ServerReflectionInfo!
}

/** Asks on one stream, in order. */
const ask = (version: "v1" | "v1alpha", requests: ReadonlyArray<object>) =>
  Effect.gen(function*() {
    const { routes } = yield* SidecarRoutes
    const method = definitionOf(version)
    const call = new FakeCall(method.path)
    for (const request of requests) call.send(method.requestSerialize(request))
    const status = yield* complete(routes.get(method.path)!, call.halfClose())
    return { status, answers: call.replies.map((reply) => method.responseDeserialize(Buffer.from(reply))) }
  }).pipe(Effect.provide(Layer.provideMerge(SidecarRoutesLayer.layer, new World().layer())))

const filesOf = (answer: Answer | undefined) =>
  (answer?.fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) =>
    descriptor.FileDescriptorProto.decode(bytes).toJSON() as {
      readonly name: string
      readonly package: string
      readonly messageType?: ReadonlyArray<{
        readonly name: string
        readonly field?: ReadonlyArray<
          { readonly name: string; readonly number: number }
        >
      }>
    }
  )

describe.each(["v1", "v1alpha"] as const)("reflection %s", (version) => {
  it.effect("lists the services of the sidecar", () =>
    Effect.gen(function*() {
      const { answers, status } = yield* ask(version, [{ listServices: "*" }])
      assert.strictEqual(status.code, Code.OK)
      assert.sameMembers(answers[0]!.listServicesResponse!.service.map(({ name }) => name), [
        "cy.llm.AiInference",
        "cy.llm.AiTraining",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "xds.service.orca.v3.OpenRcaService"
      ])
    }))

  it.effect("describes load reports with all that they import", () =>
    Effect.gen(function*() {
      const { answers } = yield* ask(version, [
        { fileContainingSymbol: "xds.service.orca.v3.OpenRcaService" },
        { fileByFilename: "xds/data/orca/v3/orca_load_report.proto" }
      ])
      assert.sameMembers(filesOf(answers[0]!).map(({ name }) => name), [
        "xds/service/orca/v3/orca.proto",
        "xds/data/orca/v3/orca_load_report.proto",
        "google/protobuf/duration.proto"
      ])
      const messages = filesOf(answers[1]!).flatMap((file) => file.messageType ?? [])
      const fields = messages.find(({ name }) => name === "OrcaLoadReport")?.field ?? []
      assert.include(fields.map(({ name, number }) => `${number} ${name}`), "9 application_utilization")
    }))

  it.effect("describes StreamPredictRequest, and a method's symbol", () =>
    Effect.gen(function*() {
      const { answers } = yield* ask(version, [
        { fileContainingSymbol: "cy.llm.StreamPredictRequest" },
        { fileContainingSymbol: "cy.llm.AiInference.StreamPredict" }
      ])
      for (const answer of answers) {
        const messages = filesOf(answer).flatMap((file) => file.messageType ?? [])
        assert.deepStrictEqual(filesOf(answer).map(({ name }) => name), ["ai_service.proto"])
        const request = messages.find(({ name }) => name === "StreamPredictRequest")
        assert.deepStrictEqual(request?.field?.map(({ name, number }) => `${number} ${name}`), [
          "1 model_id",
          "2 prompt",
          "3 adapter",
          "4 priority",
          "5 generation",
          "6 metadata",
          "7 worker_hint"
        ])
      }
    }))

  it.effect("answers an unknown symbol or file with an error_response and goes on", () =>
    Effect.gen(function*() {
      const { answers, status } = yield* ask(version, [
        { fileContainingSymbol: "no.such.Thing" },
        { fileByFilename: "no_such.proto" },
        { listServices: "*" }
      ])
      assert.deepStrictEqual(answers.map((answer) => answer.errorResponse?.errorCode), [
        Code.NOT_FOUND,
        Code.NOT_FOUND,
        undefined
      ])
      assert.strictEqual(status.code, Code.OK)
    }))

  it.effect("answers each request as it comes", () =>
    Effect.gen(function*() {
      const { routes } = yield* SidecarRoutes
      const method = definitionOf(version)
      const call = new FakeCall(method.path)
      const fiber = yield* serve(routes.get(method.path)!, call)
      for (let n = 0; n < 3; n++) call.send(method.requestSerialize({ listServices: "*" }))
      call.halfClose()
      yield* Fiber.join(fiber)
      assert.strictEqual(call.replies.length, 3)
      assert.strictEqual(call.ended?.code, Code.OK)
    }).pipe(Effect.provide(Layer.provideMerge(SidecarRoutesLayer.layer, new World().layer()))))

  it.effect("fails a call whose bytes are not a request", () =>
    Effect.gen(function*() {
      const { routes } = yield* SidecarRoutes
      const path = definitionOf(version).path
      const status = yield* complete(routes.get(path)!, new FakeCall(path).send(Uint8Array.of(0xff, 0xff)).halfClose())
      assert.strictEqual(status.code, Code.INTERNAL)
    }).pipe(Effect.provide(Layer.provideMerge(SidecarRoutesLayer.layer, new World().layer()))))
})
