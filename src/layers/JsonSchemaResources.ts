/** Finds which schema each reference of a document means: by ids, anchors and pointers, some only while checking. */
import * as Draft from "./JsonSchemaDraft.ts"

export type Node = Record<string, unknown>

/** A schema with an id of its own (or a document's root), and what is inside it up to the next such schema. */
export interface Resource {
  readonly uri: string
  readonly root: unknown
  /** What the compiler can be given for its root: a pointer from the document's root, or the id of a draft's schema. */
  readonly ref: string
  readonly anchors: Map<string, { readonly schema: Node; readonly ref: string }>
  /** What a reference may be led to while checking, by anchor; "" stands for `$recursiveAnchor`. */
  readonly dynamicAnchors: Map<string, Node>
}

/** One `$ref`, `$dynamicRef` or `$recursiveRef`. */
export interface Link {
  /** Undefined when it leads nowhere, which is wrong only where the schema is used. */
  readonly target: { readonly schema: unknown; readonly resource: Resource } | undefined
  /** What the compiler can be given instead. */
  readonly ref: string
  /** It means the outermost schema that has this anchor, of those the check is in; the target where there is none. */
  readonly anchor: string | undefined
}

export interface References {
  readonly root: Resource
  /** By the schemas that have an id of their own. */
  readonly resources: ReadonlyMap<unknown, Resource>
  readonly links: ReadonlyMap<Node, ReadonlyArray<Link>>
  /** Whether only a check can tell what some reference means. */
  readonly dynamic: boolean
  /** Of the document; the drafts' own schemas are not among them. */
  readonly nodes: ReadonlyArray<Node>
}

/**
 * The document must have been surveyed, which bounds its size. `drafts` gives the drafts' own schemas by their id.
 * Throws: an `Error` with a sentence.
 */
export const read = (root: unknown, draft: Draft.Draft, drafts: (id: string) => unknown): References => {
  const document = walk(root, draft, nameless, "#")
  const byUri = new Map([...document.byUri].map(([uri, resource]) => [uri, { resource, walk: document }] as const))
  const walks = [document]
  const placeOf = (uri: string): Place | undefined => {
    const known = byUri.get(uri)
    const schema = known === undefined ? drafts(uri) : undefined
    if (schema === undefined) return known
    const added = walk(schema, draft, uri, uri)
    walks.push(added)
    byUri.set(uri, { walk: added, resource: added.first })
    return byUri.get(uri)
  }
  const links = new Map<Node, ReadonlyArray<Link>>()
  for (const at of walks) {
    for (const [node, resource] of at.owners) {
      const found = referencesOf(draft).flatMap((keyword) => {
        const ref = node[keyword]
        return typeof ref === "string" ? [linkOf({ resource, walk: at }, ref, keyword !== "$ref", placeOf)] : []
      })
      if (found.length > 0) links.set(node, found)
    }
  }
  const resources = walks.flatMap((one) => [...one.resources])
  const anchored = (anchor: string): number =>
    resources.filter(([, { dynamicAnchors }]) => dynamicAnchors.has(anchor)).length
  const many = new Map<string, boolean>()
  for (const [, { dynamicAnchors }] of resources) {
    for (const anchor of dynamicAnchors.keys()) if (!many.has(anchor)) many.set(anchor, anchored(anchor) > 1)
  }
  const own = [...document.resources.values()]
  return {
    root: document.first,
    resources: new Map(resources),
    links,
    // The references in the drafts' own schemas move only by an anchor of the document.
    dynamic: own.some(({ dynamicAnchors }) => [...dynamicAnchors.keys()].some((anchor) => many.get(anchor))),
    nodes: [...document.owners.keys()]
  }
}

/** Writes every reference as a pointer from the root, after which ids and anchors say nothing; changes the document. */
export const settle = ({ links, nodes }: References): void => {
  for (const node of nodes) {
    const [first, ...others] = links.get(node) ?? []
    for (const word of [...words, "$dynamicRef", "$recursiveRef"]) delete node[word]
    if (first !== undefined) node.$ref = first.ref
    for (const { ref } of others) node.allOf = [...(Array.isArray(node.allOf) ? node.allOf : []), { $ref: ref }]
  }
}

const words = ["$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor"]

const referencesOf = (draft: Draft.Draft): ReadonlyArray<string> =>
  ({ "draft-07": ["$ref"], "2019-09": ["$ref", "$recursiveRef"], "2020-12": ["$ref", "$dynamicRef"] })[draft]

/** Stands for the base of a document without an id. */
const nameless = "schema:///"

interface Walk {
  readonly first: Resource
  readonly byUri: Map<string, Resource>
  readonly resources: Map<unknown, Resource>
  readonly owners: Map<Node, Resource>
  readonly visit: (value: unknown, resource: Resource, ref: string, real: boolean) => void
}

interface Place {
  readonly resource: Resource
  readonly walk: Walk
}

const linkOf = (from: Place, ref: string, moves: boolean, placeOf: (uri: string) => Place | undefined): Link => {
  const [uri, fragment] = split(join(from.resource.uri, ref))
  const place = ref.startsWith("#") ? from : placeOf(uri)
  const nowhere: Link = {
    target: undefined,
    ref: from.resource === from.walk.first ? ref : `${uri}#${fragment}`,
    anchor: undefined
  }
  if (place === undefined) return nowhere
  const { resource, walk } = place
  if (fragment === "") {
    const anchor = moves && resource.dynamicAnchors.has("") ? "" : undefined
    return { target: { schema: resource.root, resource }, ref: resource.ref, anchor }
  }
  const name = decoded(fragment)
  if (name === undefined) return nowhere
  if (!name.startsWith("/")) {
    const found = resource.anchors.get(name)
    if (found === undefined) return nowhere
    const anchor = moves && resource.dynamicAnchors.get(name) === found.schema ? name : undefined
    return { target: { schema: found.schema, resource }, ref: found.ref, anchor }
  }
  const schema = within(resource.root, name)
  if (schema === undefined) return nowhere
  const pointer = `${resource.ref}${resource.ref.includes("#") ? "" : "#"}${encoded(name)}`
  if (isNode(schema) && !walk.owners.has(schema)) walk.visit(schema, resource, pointer, false)
  const owner = walk.owners.get(schema as Node) ?? resource
  return { target: { schema, resource: owner }, ref: pointer, anchor: undefined }
}

const walk = (root: unknown, draft: Draft.Draft, base: string, ref: string): Walk => {
  const byUri = new Map<string, Resource>()
  const resources = new Map<unknown, Resource>()
  const owners = new Map<Node, Resource>()
  // What looks like an id where no schema is expected is one only if no schema has it.
  const later: Array<() => void> = []
  const make = (uri: string, root: unknown, ref: string): Resource => {
    const resource: Resource = { uri, root, ref, anchors: new Map(), dynamicAnchors: new Map() }
    resources.set(root, resource)
    return resource
  }
  const register = <A>(map: Map<string, A>, name: string, value: A, real: boolean): void => {
    if (!real) later.push(() => map.has(name) || map.set(name, value))
    else if (map.has(name)) throw new Error(`reference ${JSON.stringify(name)} resolves to more than one schema`)
    else map.set(name, value)
  }
  const enter = (node: Node, outer: Resource, ref: string, real: boolean): Resource => {
    let resource = outer
    const anchor = (name: unknown): void => {
      if (typeof name === "string") register(resource.anchors, name, { schema: node, ref }, real)
    }
    if (typeof node.$id === "string") {
      const [uri, fragment] = split(join(outer.uri, node.$id))
      if (!node.$id.startsWith("#") && node !== root) {
        resource = make(uri, node, ref)
        register(byUri, uri, resource, real)
      }
      if (draft === "draft-07" && fragment !== "") anchor(decoded(fragment))
    }
    if (draft === "draft-07") return resource
    anchor(node.$anchor)
    if (draft === "2020-12" && typeof node.$dynamicAnchor === "string") {
      if (node.$dynamicAnchor !== node.$anchor) anchor(node.$dynamicAnchor)
      if (!resource.dynamicAnchors.has(node.$dynamicAnchor)) resource.dynamicAnchors.set(node.$dynamicAnchor, node)
    }
    if (draft === "2019-09" && node.$recursiveAnchor === true && resource.root === node) {
      resource.dynamicAnchors.set("", node)
    }
    return resource
  }
  const visit = (value: unknown, outer: Resource, ref: string, real: boolean, map = false): void => {
    if (typeof value !== "object" || value === null) return
    if (Array.isArray(value)) {
      value.forEach((item, index) => visit(item, outer, `${ref}/${index}`, real))
      return
    }
    const node = value as Node
    const resource = map ? outer : enter(node, outer, ref, real)
    if (!map) owners.set(node, resource)
    for (const key of Object.keys(node)) {
      if (!map && Draft.dataKeywords.has(key)) continue
      const pointer = `${ref}${ref.includes("#") ? "" : "#"}${encoded(`/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`)}`
      visit(node[key], resource, pointer, real && (map || known.has(key)), !map && maps.has(key))
    }
  }
  const id = isNode(root) && typeof root.$id === "string" ? root.$id : ""
  const first = make(split(join(base, id))[0], root, ref)
  byUri.set(first.uri, first)
  visit(root, first, ref, true)
  for (const task of later) task()
  return { first, byUri, resources, owners, visit }
}

const maps: ReadonlySet<string> = new Set([...Draft.childMaps, ...Draft.inPlaceMaps, ...Draft.shelves])
const known: ReadonlySet<string> = new Set([
  ...maps,
  ...Draft.inPlaceLists,
  ...Draft.inPlaceSingles,
  ...Draft.childLists,
  ...Draft.childSingles,
  "contentSchema"
])

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value)

const join = (base: string, ref: string): string => (URL.canParse(ref, base) ? new URL(ref, base).href : ref)

const split = (uri: string): readonly [uri: string, fragment: string] => {
  const at = uri.indexOf("#")
  return at === -1 ? [uri, ""] : [uri.slice(0, at), uri.slice(at + 1)]
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const encoded = (pointer: string): string => pointer.split("/").map(encodeURIComponent).join("/")

const within = (root: unknown, pointer: string): unknown => {
  let at: unknown = root
  for (const part of pointer.slice(1).split("/")) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~")
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return undefined
    at = (at as Node)[name]
  }
  return at
}
