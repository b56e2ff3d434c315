export * from "../services/Fields.ts"
