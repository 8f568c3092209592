import type { UsageRecord } from "../../services/UsageRecord.ts"

/** Media type of one CloudEvent as JSON (CloudEvents 1.0, "JSON Event Format"). */
export const eventType = "application/cloudevents+json; charset=utf-8"
/** Media type of a batch of them ("JSON Batch Format"). */
export const eventBatchType = "application/cloudevents-batch+json; charset=utf-8"

/**
 * A usage record as a CloudEvent 1.0 in structured form. `id` is the `record_id`, `source` the `sidecar_id`: together they are
 * what a receiver tells duplicates by. `subject` is the tenant, who is billed.
 */
export const cloudEvent = (record: UsageRecord) => ({
  specversion: "1.0",
  id: record.record_id,
  // A URI reference (RFC 3986 §4.1): a host's name may hold more than one may.
  source: encodeURIComponent(record.sidecar_id.toWellFormed()),
  type: "cy.llm.usage.v1",
  time: record.ended_at,
  // An empty subject is none, and receivers such as OpenMeter demand one.
  subject: record.tenant === "" ? "unknown" : record.tenant,
  datacontenttype: "application/json",
  data: record
})
