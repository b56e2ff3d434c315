/** The ordered parts of sources as Prometheus reads them: they come and go, so they are written when somebody asks. */
import type { PartitionStatus } from "../services/Source.ts"
import type { Supervised } from "./Supervisor.ts"

const gauges: ReadonlyArray<readonly [name: string, help: string, value: (one: PartitionStatus) => number]> = [
  ["lag", "Records from the watermark to the end of the log", ({ lag }) => lag],
  ["watermark", "The offset below which all is settled", ({ watermark }) => watermark],
  ["unsettled", "Records given and not settled", ({ unsettled }) => unsettled],
  ["gap", "Offsets settled beyond the watermark", ({ beyond }) => beyond],
  ["paused", "1 while it takes no more", ({ paused }) => (paused ? 1 : 0)]
]

/** Empty when no source has parts. Source: https://prometheus.io/docs/instrumenting/exposition_formats */
export const format = (pipelines: ReadonlyArray<Supervised>): string => {
  const parts = pipelines.flatMap(({ name, plan }) =>
    (plan.source.partitions?.() ?? []).map((one) => ({
      labels: `pipeline="${quoted(name)}",partition="${quoted(one.name)}"`,
      one
    }))
  )
  if (parts.length === 0) return ""
  return gauges
    .map(([name, help, value]) => {
      const metric = `sluice_partition_${name}`
      const lines = parts.map(({ labels, one }) => `${metric}{${labels}} ${value(one)}\n`)
      return `# HELP ${metric} ${help}\n# TYPE ${metric} gauge\n${lines.join("")}`
    })
    .join("")
}

const quoted = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")
