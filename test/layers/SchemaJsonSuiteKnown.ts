/** The failures of the official test suite that are known, each with its reason. */

/** Reasons, by what the suite's file is named. */
export const reasons: Readonly<Record<string, string>> = {
  refRemote: "documents from elsewhere: nothing is fetched, by design; such a schema is refused",
  vocabulary: "a metaschema from elsewhere: nothing is fetched, by design; such a schema is refused",
  recursiveRef: "ajv follows $recursiveRef to the outermost anchor even across a schema with an id of its own",
  dynamicRef:
    "ajv resolves $dynamicRef by name along the calls only, not by resources; or the schema is from elsewhere",
  ref: "ajv does not resolve a relative id below another, nor a pointer through a schema named by a URN; such a schema is refused",
  unevaluatedItems: "ajv does not see items that nested items, contains or if alone have evaluated",
  unevaluatedProperties: "ajv does not see properties that if alone, or a $dynamicRef, has evaluated"
}

/** By draft, then by file: group and test. */
export const known: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>> = {
  "2019-09": {
    recursiveRef: [
      "$recursiveRef with no $recursiveAnchor in the initial target schema resource: leaf node matches: recursion uses the inner schema",
      "$recursiveRef with no $recursiveAnchor in the initial target schema resource: leaf node does not match: recursion uses the inner schema"
    ],
    ref: [
      "refs with relative uris and defs: invalid on inner field",
      "refs with relative uris and defs: invalid on outer field",
      "refs with relative uris and defs: valid on both fields",
      "relative refs with absolute uris and defs: invalid on inner field",
      "relative refs with absolute uris and defs: invalid on outer field",
      "relative refs with absolute uris and defs: valid on both fields",
      "URN ref with nested pointer ref: a string is valid",
      "URN ref with nested pointer ref: a non-string is invalid",
      "$ref with $recursiveAnchor: extra items allowed for inner arrays",
      "$ref with $recursiveAnchor: extra items disallowed for root"
    ],
    unevaluatedItems: [
      "unevaluatedItems with nested items: with no additional items",
      "unevaluatedItems with nested items: with invalid additional item",
      "unevaluatedItems can see annotations from if without then and else: valid in case if is evaluated"
    ],
    unevaluatedProperties: [
      "unevaluatedProperties with if/then/else, then not defined: when if is true and has no unevaluated properties",
      "unevaluatedProperties with if/then/else, then not defined: when if is false and has unevaluated properties",
      "unevaluatedProperties can see annotations from if without then and else: valid in case if is evaluated"
    ],
    vocabulary: [
      "schema that uses custom metaschema with with no validation vocabulary: applicator vocabulary still works",
      "schema that uses custom metaschema with with no validation vocabulary: no validation: valid number",
      "schema that uses custom metaschema with with no validation vocabulary: no validation: invalid number, but it still validates",
      "ignore unrecognized optional vocabulary: string value",
      "ignore unrecognized optional vocabulary: number value"
    ]
  },
  "2020-12": {
    dynamicRef: [
      "A $dynamicRef to a $dynamicAnchor in the same schema resource behaves like a normal $ref to an $anchor: An array of strings is valid",
      "A $dynamicRef to an $anchor in the same schema resource behaves like a normal $ref to an $anchor: An array of strings is valid",
      "A $dynamicRef resolves to the first $dynamicAnchor still in scope that is encountered when the schema is evaluated: An array of strings is valid",
      "A $dynamicRef without anchor in fragment behaves identical to $ref: An array of numbers is valid",
      "A $dynamicRef with intermediate scopes that don't include a matching $dynamicAnchor does not affect dynamic scope resolution: An array of strings is valid",
      "An $anchor with the same name as a $dynamicAnchor is not used for dynamic scope resolution: Any array is valid",
      "A $dynamicRef without a matching $dynamicAnchor in the same schema resource behaves like a normal $ref to $anchor: Any array is valid",
      "A $dynamicRef with a non-matching $dynamicAnchor in the same schema resource behaves like a normal $ref to $anchor: Any array is valid",
      "A $dynamicRef that initially resolves to a schema with a matching $dynamicAnchor resolves to the first $dynamicAnchor in the dynamic scope: The recursive part is valid against the root",
      "A $dynamicRef that initially resolves to a schema with a matching $dynamicAnchor resolves to the first $dynamicAnchor in the dynamic scope: The recursive part is not valid against the root",
      "A $dynamicRef that initially resolves to a schema without a matching $dynamicAnchor behaves like a normal $ref to $anchor: The recursive part doesn't need to validate against the root",
      "multiple dynamic paths to the $dynamicRef keyword: number list with string values",
      "multiple dynamic paths to the $dynamicRef keyword: string list with number values",
      "after leaving a dynamic scope, it is not used by a $dynamicRef: string matches /$defs/thingy, but the $dynamicRef does not stop here",
      "after leaving a dynamic scope, it is not used by a $dynamicRef: first_scope is not in dynamic scope for the $dynamicRef",
      "after leaving a dynamic scope, it is not used by a $dynamicRef: /then/$defs/thingy is the final stop for the $dynamicRef",
      "strict-tree schema, guards against misspelled properties: instance with misspelled field",
      "strict-tree schema, guards against misspelled properties: instance with correct field",
      "tests for implementation dynamic anchor and reference link: incorrect parent schema",
      "tests for implementation dynamic anchor and reference link: incorrect extended schema",
      "tests for implementation dynamic anchor and reference link: correct extended schema",
      "$ref and $dynamicAnchor are independent of order - $defs first: incorrect parent schema",
      "$ref and $dynamicAnchor are independent of order - $defs first: incorrect extended schema",
      "$ref and $dynamicAnchor are independent of order - $defs first: correct extended schema",
      "$ref and $dynamicAnchor are independent of order - $ref first: incorrect parent schema",
      "$ref and $dynamicAnchor are independent of order - $ref first: incorrect extended schema",
      "$ref and $dynamicAnchor are independent of order - $ref first: correct extended schema",
      "$ref to $dynamicRef finds detached $dynamicAnchor: number is valid",
      "$ref to $dynamicRef finds detached $dynamicAnchor: non-number is invalid",
      "$dynamicRef points to a boolean schema: follow $dynamicRef to a false schema",
      "$dynamicRef skips over intermediate resources - direct reference: integer property passes",
      "$dynamicRef avoids the root of each schema, but scopes are still registered: data is sufficient for schema at second#/$defs/length"
    ],
    ref: [
      "refs with relative uris and defs: invalid on inner field",
      "refs with relative uris and defs: invalid on outer field",
      "refs with relative uris and defs: valid on both fields",
      "relative refs with absolute uris and defs: invalid on inner field",
      "relative refs with absolute uris and defs: invalid on outer field",
      "relative refs with absolute uris and defs: valid on both fields",
      "URN ref with nested pointer ref: a string is valid",
      "URN ref with nested pointer ref: a non-string is invalid"
    ],
    unevaluatedItems: [
      "unevaluatedItems with nested items: with no additional items",
      "unevaluatedItems with nested items: with invalid additional item",
      "unevaluatedItems with $dynamicRef: with no unevaluated items",
      "unevaluatedItems depends on adjacent contains: contains passes, second item is not evaluated",
      "unevaluatedItems depends on multiple nested contains: 7 not evaluated, fails unevaluatedItems",
      "unevaluatedItems and contains interact to control item dependency relationship: only b's are invalid",
      "unevaluatedItems and contains interact to control item dependency relationship: only c's are invalid",
      "unevaluatedItems and contains interact to control item dependency relationship: only b's and c's are invalid",
      "unevaluatedItems and contains interact to control item dependency relationship: only a's and c's are invalid",
      "unevaluatedItems with minContains = 0: all items evaluated by contains",
      "unevaluatedItems can see annotations from if without then and else: valid in case if is evaluated"
    ],
    unevaluatedProperties: [
      "unevaluatedProperties with if/then/else, then not defined: when if is true and has no unevaluated properties",
      "unevaluatedProperties with if/then/else, then not defined: when if is false and has unevaluated properties",
      "unevaluatedProperties with $dynamicRef: with no unevaluated properties",
      "unevaluatedProperties can see annotations from if without then and else: valid in case if is evaluated"
    ],
    vocabulary: [
      "schema that uses custom metaschema with with no validation vocabulary: applicator vocabulary still works",
      "schema that uses custom metaschema with with no validation vocabulary: no validation: valid number",
      "schema that uses custom metaschema with with no validation vocabulary: no validation: invalid number, but it still validates",
      "ignore unrecognized optional vocabulary: string value",
      "ignore unrecognized optional vocabulary: number value"
    ]
  }
}
