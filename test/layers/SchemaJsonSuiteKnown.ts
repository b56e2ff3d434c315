/** The failures of the official test suite that are known, each with its reason. */

/** Reasons, by what the suite's file is named. In all of them the schema is refused: no verdict is wrong. */
export const reasons: Readonly<Record<string, string>> = {
  refRemote: "documents from elsewhere",
  dynamicRef: "documents from elsewhere",
  vocabulary: "a metaschema from elsewhere"
}

/** By draft, then by file: group and test. */
export const known: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>> = {
  "2019-09": {
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
      "$ref to $dynamicRef finds detached $dynamicAnchor: non-number is invalid"
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
