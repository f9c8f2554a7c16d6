#include "lair/array.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>
#include <stdexcept>
#include <unordered_map>

namespace lair {

namespace {

struct DTypeRow {
  std::size_t size;
  std::string_view name;
  std::string_view typestr;
};

// In the order of DType.
constexpr bool kLittle = std::endian::native == std::endian::little;
constexpr DTypeRow kDTypes[] = {
    {1, "bool", "|b1"},
    {1, "int8", "|i1"},
    {2, "int16", kLittle ? "<i2" : ">i2"},
    {4, "int32", kLittle ? "<i4" : ">i4"},
    {8, "int64", kLittle ? "<i8" : ">i8"},
    {1, "uint8", "|u1"},
    {2, "uint16", kLittle ? "<u2" : ">u2"},
    {4, "uint32", kLittle ? "<u4" : ">u4"},
    {8, "uint64", kLittle ? "<u8" : ">u8"},
    {4, "float32", kLittle ? "<f4" : ">f4"},
    {8, "float64", kLittle ? "<f8" : ">f8"},
    {8, "complex64", kLittle ? "<c8" : ">c8"},
    {16, "complex128", kLittle ? "<c16" : ">c16"},
};

constexpr const DTypeRow& row(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

// By which an array in a Json is told from the binary values of others.
constexpr std::uint64_t kSubtype = 0x4c414952;

struct Tracked {
  std::mutex mutex;
  std::unordered_map<std::uint64_t, std::weak_ptr<detail::ArrayMemory>> live;
};
// Never destroyed: arrays may live as long as the program.
Tracked& tracked() {
  static auto* all = new Tracked;  // NOLINT: leaked on purpose
  return *all;
}

std::atomic<std::uint64_t> last_serial = 0;

class OwnMemory final : public detail::ArrayMemory {
 public:
  explicit OwnMemory(std::size_t size)
      : ArrayMemory(static_cast<std::byte*>(::operator new(size, kAlignment)), size) {}
  ~OwnMemory() override { ::operator delete(data(), kAlignment); }

 private:
  static constexpr std::align_val_t kAlignment{64};
};

// Sums of a shape's and strides' products, of which no single one is known to be small.
__extension__ using Wide = __int128;

// How an array is written into a Json: this, then shape and strides.
struct Written {
  std::uint64_t serial = 0;
  std::uint64_t first = 0;
  std::uint32_t ndim = 0;
  DType dtype = DType::kUInt8;
  bool inout = false;
};

std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (const std::size_t each : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(each);
  return text + ')';
}

}  // namespace

std::size_t size_of(DType dtype) noexcept { return row(dtype).size; }
std::string_view to_string(DType dtype) noexcept { return row(dtype).name; }
std::string_view array_typestr(DType dtype) noexcept { return row(dtype).typestr; }
std::optional<DType> dtype_of_typestr(std::string_view text) noexcept {
  for (std::size_t i = 0; i < std::size(kDTypes); ++i) {
    if (kDTypes[i].typestr == text) return static_cast<DType>(i);
  }
  return std::nullopt;
}

namespace detail {

ArrayMemory::ArrayMemory(std::byte* data, std::size_t size) noexcept
    : data_(data), size_(size), serial_(++last_serial) {}

ArrayMemory::~ArrayMemory() {
  Tracked& all = tracked();
  const std::lock_guard lock(all.mutex);
  all.live.erase(serial_);
}

std::shared_ptr<ArrayMemory> ArrayMemory::find(std::uint64_t serial) {
  Tracked& all = tracked();
  const std::lock_guard lock(all.mutex);
  const auto found = all.live.find(serial);
  return found == all.live.end() ? nullptr : found->second.lock();
}

void ArrayMemory::track(const std::shared_ptr<ArrayMemory>& memory) {
  Tracked& all = tracked();
  const std::lock_guard lock(all.mutex);
  all.live[memory->serial()] = memory;
}

std::shared_ptr<ArrayMemory> ArrayMemory::own(std::size_t size) {
  std::shared_ptr<ArrayMemory> memory = std::make_shared<OwnMemory>(std::max<std::size_t>(size, 1));
  track(memory);
  return memory;
}

std::optional<std::size_t> bytes_of(DType dtype, const Shape& shape) noexcept {
  std::size_t bytes = size_of(dtype);
  for (const std::size_t each : shape) {
    if (__builtin_mul_overflow(bytes, each, &bytes) || bytes > PTRDIFF_MAX) return std::nullopt;
  }
  return bytes;
}

std::size_t count_of(const Shape& shape) noexcept {
  std::size_t count = 1;
  for (const std::size_t each : shape) count *= each;
  return count;
}

Strides contiguous_strides(DType dtype, const Shape& shape) {
  Strides strides(shape.size());
  std::size_t step = size_of(dtype);
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = static_cast<std::ptrdiff_t>(step);
    step *= std::max<std::size_t>(shape[i], 1);  // it may wrap, but only where there is no element at all
  }
  return strides;
}

bool is_contiguous(const ArrayData& array) noexcept {
  auto step = static_cast<std::ptrdiff_t>(size_of(array.dtype));
  if (count_of(array.shape) == 0) return true;
  for (std::size_t i = array.shape.size(); i-- > 0;) {
    if (array.shape[i] == 1) continue;
    if (array.strides[i] != step) return false;
    step *= static_cast<std::ptrdiff_t>(array.shape[i]);
  }
  return true;
}

bool fits(const ArrayData& array) noexcept {
  if (array.memory == nullptr || array.shape.size() != array.strides.size()) return false;
  if (!bytes_of(array.dtype, array.shape)) return false;
  const auto element = static_cast<Wide>(size_of(array.dtype));
  if (count_of(array.shape) == 0) return array.first <= array.memory->size();
  Wide low = array.first;
  Wide high = low + element;
  for (std::size_t i = 0; i < array.shape.size(); ++i) {
    const Wide reach = static_cast<Wide>(array.shape[i] - 1) * array.strides[i];
    (reach < 0 ? low : high) += reach;
    if (array.strides[i] % element != 0) return false;
  }
  return low >= 0 && high <= static_cast<Wide>(array.memory->size()) && array.first % element == 0;
}

Shape shape_for(Shape shape, std::size_t count) {
  if (shape.empty()) return {count};
  if (!bytes_of(DType::kUInt8, shape) || count_of(shape) != count) {
    throw std::invalid_argument("an array of shape " + shape_text(shape) + " does not have " +
                                std::to_string(count) + " elements");
  }
  return shape;
}

ArrayData copy_of(DType dtype, const void* elements, const Shape& shape) {
  const auto bytes = bytes_of(dtype, shape);
  if (!bytes) throw std::bad_alloc();
  ArrayData made{.memory = ArrayMemory::own(*bytes),
                 .dtype = dtype,
                 .shape = shape,
                 .strides = contiguous_strides(dtype, shape)};
  if (*bytes > 0) std::memcpy(made.data(), elements, *bytes);
  return made;
}

void copy_elements(std::byte* to, const ArrayData& from) {
  const std::size_t element = size_of(from.dtype);
  const std::size_t count = count_of(from.shape);
  if (count == 0) return;
  if (is_contiguous(from)) {
    std::memcpy(to, from.data(), count * element);
    return;
  }
  Shape at(from.shape.size(), 0);
  const std::byte* source = from.data();
  for (std::size_t done = 0; done < count; ++done, to += element) {
    std::memcpy(to, source, element);
    for (std::size_t i = at.size(); i-- > 0;) {
      source += from.strides[i];
      if (++at[i] < from.shape[i]) break;
      source -= from.strides[i] * static_cast<std::ptrdiff_t>(at[i]);
      at[i] = 0;
    }
  }
}

void bad_view(const ArrayData& of, const Shape& shape) {
  throw std::invalid_argument("the array of shape " + shape_text(of.shape) +
                              " cannot be seen as one of shape " + shape_text(shape) +
                              ": that leaves its memory, or needs it to be contiguous");
}

// --- In a Json ----------------------------------------------------------------------------------------

Json array_as_json(const ArrayData& array, bool inout) {
  const std::size_t ndim = array.shape.size();
  const Written head{.serial = array.memory == nullptr ? 0 : array.memory->serial(),
                     .first = array.first,
                     .ndim = static_cast<std::uint32_t>(ndim),
                     .dtype = array.dtype,
                     .inout = inout};
  std::vector<std::uint8_t> bytes(sizeof head + ndim * 16);
  std::memcpy(bytes.data(), &head, sizeof head);
  if (ndim > 0) {
    std::memcpy(bytes.data() + sizeof head, array.shape.data(), ndim * 8);
    std::memcpy(bytes.data() + sizeof head + ndim * 8, array.strides.data(), ndim * 8);
  }
  return Json::binary(std::move(bytes), kSubtype);
}

bool is_array(const Json& value) noexcept {
  return value.is_binary() && value.get_binary().has_subtype() && value.get_binary().subtype() == kSubtype &&
         value.get_binary().size() >= sizeof(Written);
}

ArrayInJson array_in(const Json& value) {
  const auto& bytes = value.get_binary();
  Written head;
  std::memcpy(&head, bytes.data(), sizeof head);
  ArrayInJson found{.array = {.first = head.first, .dtype = head.dtype}, .inout = head.inout};
  const std::size_t ndim = head.ndim;
  if (bytes.size() != sizeof head + ndim * 16) return found;
  found.array.shape.resize(ndim);
  found.array.strides.resize(ndim);
  if (ndim > 0) {
    std::memcpy(found.array.shape.data(), bytes.data() + sizeof head, ndim * 8);
    std::memcpy(found.array.strides.data(), bytes.data() + sizeof head + ndim * 8, ndim * 8);
  }
  found.array.memory = ArrayMemory::find(head.serial);
  if (found.array.memory != nullptr && !fits(found.array)) found.array.memory.reset();
  return found;
}

ArrayData array_from_json(const Json& value, DType dtype) {
  const std::string wanted = "an array of " + std::string(to_string(dtype)) + " was asked for, ";
  if (!is_array(value)) throw Json::type_error::create(302, wanted + "and it is none", &value);
  ArrayInJson found = array_in(value);
  if (found.array.dtype != dtype) {
    const std::string is = "and it has elements of " + std::string(to_string(found.array.dtype)) +
                           " and shape " + shape_text(found.array.shape);
    throw Json::type_error::create(302, wanted + is, &value);
  }
  if (found.array.memory == nullptr) throw Json::type_error::create(302, wanted + "and it is gone", &value);
  return std::move(found.array);
}

}  // namespace detail

}  // namespace lair
