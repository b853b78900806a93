"""The frame under every resolver: context, paging, loaders, bounds, errors."""
