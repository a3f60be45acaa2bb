-- Turns the transcoder's google.rpc.Status into {"error": message}, or into OpenAI's
-- object where the route's metadata says so.
--
-- The transcoder prints a Status in field order, so its message stands first,
-- behind the code. Its JSON escapes are kept as they are: nothing is decoded, so
-- nothing can be encoded wrongly. A body of any other form is left alone.

-- The escaped text of the JSON string that begins at `start`, and where it ends.
local function json_string(text, start)
  local at = start
  while true do
    local stop = text:find('["\\]', at)
    if stop == nil then return nil end
    if text:byte(stop) == 34 then return text:sub(start, stop - 1), stop end
    at = stop + 2 -- a backslash and what it escapes
  end
end

local types = {
  [401] = "authentication_error", [403] = "permission_error", [404] = "not_found_error", [429] = "rate_limit_error"
}

-- OpenAI's error: the reason in small letters, and the field that it is about, stand in the details.
local function openai(message, status, details)
  local kind = types[status] or (status >= 500 and "server_error" or "invalid_request_error")
  local reason = details:match('"reason":"([%u%d_]+)"')
  local code = reason ~= nil and '"' .. reason:lower() .. '"' or "null"
  local _, before = details:find('"field":"', 1, true)
  local field = before ~= nil and json_string(details, before + 1) or nil
  local param = field ~= nil and '"' .. field .. '"' or "null"
  return '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":' .. param .. ',"code":' .. code .. "}}"
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status"))
  if status == nil or status < 400 or headers:get("content-type") ~= "application/json" then return end
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  local _, before = text:find('^{"code":%d+,"message":"')
  local message, stop = "", 1
  if before ~= nil then
    message, stop = json_string(text, before + 1)
    if message == nil then return end
  elseif text:find('^{"code":%d+[,}]') == nil then
    return
  end
  headers = handle:headers() -- the one from before the body is stale
  if headers:get("retry-after") == nil then
    local seconds = text:match('"retryDelay":"([%d.]+)s"', stop)
    if seconds ~= nil then
      headers:add("retry-after", string.format("%d", math.max(1, math.ceil(tonumber(seconds)))))
    end
  end
  if handle:metadata():get("form") == "openai" then
    body:setBytes(openai(message, status, text:sub(stop)))
  else
    body:setBytes('{"error":"' .. message .. '"}')
  end
end
