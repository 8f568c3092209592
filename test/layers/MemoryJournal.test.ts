import { Layer } from "effect"
import * as MemoryJournal from "../../src/layers/MemoryJournal.ts"
import { usageJournalSuite } from "../suites/usageJournalSuite.ts"
import { configLayer, figuresLayer } from "../suites/usageSupport.ts"

usageJournalSuite(
  "MemoryJournal",
  (metering) => MemoryJournal.layer.pipe(Layer.provideMerge(figuresLayer), Layer.provide(configLayer(metering)))
)
