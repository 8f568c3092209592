import * as GrpcJsWorkerChannel from "../../src/layers/GrpcJsWorkerChannel.ts"
import * as Http2WorkerChannel from "../../src/layers/Http2WorkerChannel.ts"
import { workerChannelSuite } from "../suites/workerChannelSuite.ts"

workerChannelSuite("Http2WorkerChannel", { layer: Http2WorkerChannel.layer })
workerChannelSuite("GrpcJsWorkerChannel", { layer: GrpcJsWorkerChannel.layer, losesMessagesBeforeErrors: true })
