// Writes src/client/api.gen.ts, the types of the server's JSON, from openapi.json: node
// generate.mjs [--check]
//
// --check writes nothing and fails if the file is not what would be written. openapi.json is what a
// server answers to GET /api/openapi.json; a test of the server says when it is stale, and renews
// it.

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

const from = path.join(import.meta.dirname, "openapi.json");
const to = path.join(import.meta.dirname, "src/client/api.gen.ts");

const WIDTH = 100;

/** Wraps a description into a comment. */
function comment(description, indent) {
  if (!description) return "";
  const words = description.replaceAll("*/", "*\\/").split(/\s+/);
  const single = `${indent}/** ${words.join(" ")} */`;
  if (single.length <= WIDTH) return `${single}\n`;
  const lines = [`${indent} *`];
  for (const word of words) {
    if (lines.at(-1).length + 1 + word.length > WIDTH) lines.push(`${indent} *`);
    lines[lines.length - 1] += ` ${word}`;
  }
  return `${indent}/**\n${lines.join("\n")}\n${indent} */\n`;
}

/**
 * The TypeScript type of a schema (OpenAPI 3.1, JSON Schema 2020-12). Throws at what it does not
 * know.
 */
function typeOf(schema, where) {
  const known = new Set([
    "$ref",
    "type",
    "enum",
    "oneOf",
    "items",
    "properties",
    "required",
    "propertyNames",
    "additionalProperties",
    // These say nothing about the type.
    "description",
    "format",
    "minimum",
    "maximum",
    "default",
    "example",
    "examples",
    "deprecated",
  ]);
  const stranger = Object.keys(schema).find((key) => !known.has(key));
  if (stranger) throw new Error(`${where}: generate.mjs does not know “${stranger}”; teach it`);
  if (schema.$ref) return schema.$ref.replace("#/components/schemas/", "");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.oneOf) return schema.oneOf.map((each) => typeOf(each, where)).join(" | ");
  return [schema.type]
    .flat()
    .map((type) => primitive(type, schema, where))
    .join(" | ");
}

function primitive(type, schema, where) {
  switch (type) {
    case "integer":
    case "number":
      return "number";
    case "string":
    case "boolean":
    case "null":
      return type;
    case "array": {
      const items = typeOf(schema.items, where);
      return /[ |]/.test(items) ? `(${items})[]` : `${items}[]`;
    }
    case "object":
      if (!schema.additionalProperties)
        throw new Error(`${where}: an object within an object has no name`);
      return `Record<string, ${typeOf(schema.additionalProperties, where)}>`;
    default:
      throw new Error(`${where}: generate.mjs does not know the type “${type}”; teach it`);
  }
}

function declaration([name, schema]) {
  const head = comment(schema.description, "");
  if (!schema.properties) return `${head}export type ${name} = ${typeOf(schema, name)};\n`;
  const required = new Set(schema.required ?? []);
  const members = Object.entries(schema.properties).map(([key, property]) => {
    const type = typeOf(property, `${name}.${key}`);
    const described =
      property.description ?? property.oneOf?.find(({ description }) => description)?.description;
    return `${comment(described, "  ")}  ${key}${required.has(key) ? "" : "?"}: ${type};\n`;
  });
  return `${head}export interface ${name} {\n${members.join("")}}\n`;
}

const { components } = JSON.parse(await readFile(from, "utf8"));
const text = [
  "// The types of the server's JSON. Generated from openapi.json by `npm run generate`.\n",
  ...Object.entries(components.schemas).map(declaration),
].join("\n");

if (process.argv[2] === "--check") {
  const present = await readFile(to, "utf8").catch(() => "");
  if (present !== text) {
    console.error(
      "src/client/api.gen.ts is not what openapi.json says. Renew it: cd web && npm run generate",
    );
    process.exitCode = 1;
  }
} else {
  await writeFile(to, text);
}
