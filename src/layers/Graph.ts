/** Draws the pipelines of a config as a Mermaid flow chart. */
import type { Config } from "./Config.ts"

/** `hide` puts variables back where their values stand. */
export const mermaid = (config: Config, hide: (text: string) => string): string => {
  const lines = ["flowchart LR"]
  Object.entries(config.pipelines).forEach(([name, pipeline], p) => {
    const id = (part: string): string => `p${p}_${part}`
    lines.push(`  subgraph ${id("")}["${escaped(name)}"]`)
    lines.push(
      `    ${id("source")}[["${escaped(label(pipeline.source))}"]] --> ${id("decode")}["decode ${pipeline.decode?.type ?? "json"}"]`
    )
    lines.push(`    ${id("decode")} --> ${id("detect")}{"${escaped(detected(pipeline.detect))}"}`)
    const ends = pipeline.dispatch.map((leg, i) => {
      const on = leg.on === undefined ? "" : `|"${escaped([leg.on].flat().join(", "))}"|`
      lines.push(`    ${id("detect")} -->${on} ${id(`leg${i}`)}["${escaped(label(leg))}"]`)
      return id(`leg${i}`)
    })
    pipeline.publish.forEach((publisher, i) => {
      const when = [publisher.when ?? "accepted"].flat().join(", ")
      for (const end of ends.length === 0 ? [id("detect")] : ends) {
        lines.push(`    ${end} -->|"${when}"| ${id(`publish${i}`)}[/"${escaped(label(publisher))}"/]`)
      }
    })
    lines.push("  end")
    const letters = id("letters")
    lines.push(`  ${id("decode")} -.-> ${letters}[("dead letters")]`)
    for (const end of ends) lines.push(`  ${end} -.-> ${letters}`)
  })
  return `${hide(lines.join("\n"))}\n`
}

/** What tells one component from another of its type. */
const telling = ["topic", "path", "url", "module", "deployment", "queue"]

const label = (options: { readonly type: string; readonly [option: string]: unknown }): string => {
  const told = telling.find((name) => typeof options[name] === "string")
  return told === undefined ? options.type : `${options.type} ${withoutQuery(String(options[told]))}`
}

const detected = (detect: Config["pipelines"][string]["detect"]): string => {
  if (detect === undefined) return "message"
  return Array.isArray(detect)
    ? detect.map(({ event }) => event).join(", ")
    : label(detect as { readonly type: string })
}

/** A query may hold a secret. */
const withoutQuery = (text: string): string => text.replace(/\?.*$/, "").replace(/\/\/[^/@]*@/, "//")

const escaped = (text: string): string => text.replaceAll('"', "#quot;").replaceAll("\n", " ")
