import * as GrpcJsServer from "../../src/layers/GrpcJsServer.ts"
import * as Http2Server from "../../src/layers/Http2Server.ts"
import { serverSuite } from "../suites/serverSuite.ts"

serverSuite("Http2Server", { layer: Http2Server.layer })
serverSuite("GrpcJsServer", { layer: GrpcJsServer.layer, cannotReset: true, lenient: true })
