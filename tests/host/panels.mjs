// What a reader sees of each panel, by Grafana's own library. Reads panels with their queries' results
// from stdin, writes panel -> [[name, text], …] to stdout. Usage: node panels.mjs FOLDER_OF_NODE_MODULES
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { JSDOM } = require("jsdom");

// The result alone goes to stdout: a package of the library advertises there.
console.log = console.info = console.error;
// The library is made for a browser and looks for one as it loads.
const { window } = new JSDOM("<!doctype html>", { url: "http://localhost" });
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator, localStorage: window.localStorage, DOMParser: window.DOMParser })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
const grafana = require("@grafana/data");
const { lastValueFrom } = createRequire(require.resolve("@grafana/data"))("rxjs");

const { FieldType } = grafana;
const theme = grafana.createTheme();
const timeZone = "utc";
const replaceVariables = (text) => text;

// Grafana's application fills these registries when it starts (getStandardTransformers, getAllStandardFieldConfigs).
const transformers = new Map(Object.values(grafana.standardTransformers).map((transformation) => [transformation.id, transformation]));
grafana.standardTransformersRegistry.setInit(() => [...transformers].map(([id, transformation]) => ({ id, name: id, transformation })));
const number = grafana.numberOverrideProcessor;
const string = grafana.stringOverrideProcessor;
const properties = {
  unit: string,
  min: number,
  max: number,
  decimals: number,
  noValue: string,
  displayName: grafana.displayNameOverrideProcessor,
  color: grafana.identityOverrideProcessor,
  mappings: grafana.valueMappingsOverrideProcessor,
  thresholds: grafana.thresholdsOverrideProcessor,
};
grafana.standardFieldConfigEditorRegistry.setInit(() => Object.entries(properties).map(([id, process]) => ({ id, path: id, name: id, process, shouldApply: () => true, settings: {} })));

const legend = (format, labels) => format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? "");

// As the Prometheus data source makes them: a frame for each series, or one table of all.
function frames(target) {
  if (target.format === "table") {
    if (!target.result.length) return [];
    const labels = [...new Set(target.result.flatMap(({ metric }) => Object.keys(metric)))].sort();
    return [{
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: target.result.map(({ value }) => value[0] * 1000) },
        ...labels.map((label) => ({ name: label, type: FieldType.string, values: target.result.map(({ metric }) => metric[label] ?? "") })),
        { name: "Value", type: FieldType.number, values: target.result.map(({ value }) => Number(value[1])) },
      ],
    }];
  }
  return target.result.map(({ metric, value }) => ({
    refId: target.refId,
    fields: [
      { name: "Time", type: FieldType.time, values: [value[0] * 1000] },
      { name: "Value", type: FieldType.number, labels: metric, values: [Number(value[1])], config: { displayNameFromDS: legend(target.legendFormat, metric) } },
    ],
  }));
}

async function seen(panel) {
  const found = panel.targets.flatMap(frames).map((frame) => grafana.toDataFrame(frame));
  const transformed = await lastValueFrom(grafana.transformDataFrame(panel.transformations ?? [], found, { interpolate: replaceVariables }));
  const source = { fieldConfig: panel.fieldConfig, replaceVariables, theme, timeZone, data: transformed };
  if (panel.type === "stat" || panel.type === "bargauge") {
    const data = grafana.applyFieldOverrides(source);
    return grafana.getFieldDisplayValues({ ...source, data, reduceOptions: panel.options.reduceOptions }).map(({ display }) => [display.title ?? "", grafana.formattedValueToString(display)]);
  }
  const cells = [];
  const data = grafana.applyFieldOverrides(source);
  for (const frame of data) {
    for (const field of frame.fields) {
      if (panel.type === "timeseries" && field.type === FieldType.time) continue;
      const name = grafana.getFieldDisplayName(field, frame, data);
      for (const value of field.values) {
        // A graph leaves a gap where there is no number.
        if (panel.type === "timeseries" && Number.isNaN(value)) continue;
        cells.push([name, grafana.formattedValueToString(field.display(value))]);
      }
    }
  }
  return cells;
}

const shown = {};
for (const [name, panel] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) shown[name] = await seen(panel);
process.stdout.write(JSON.stringify(shown));
