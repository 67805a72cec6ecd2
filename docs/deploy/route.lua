-- Orthanc's rule: a series to which nothing was added for StableAge seconds goes to the node.
function OnStableSeries(series, tags, metadata)
  local sent = { CR = true, DX = true, CT = true }
  if sent[tags['Modality']] and tags['Manufacturer'] ~= 'LiquidLens' then
    RestApiPost('/modalities/liquidlens/store', '{"Resources": ["' .. series .. '"], "Synchronous": false}')
  end
end
