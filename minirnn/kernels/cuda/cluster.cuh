// Thread-block clusters, from compute capability 9.0 on: so many blocks, CLUSTER, start together, write into each other's
// shared memory, and wait for each other. Which blocks the kernel says by __cluster_dims__.
#ifdef __CUDACC__  // elsewhere whoever imitates a device brings them
// Puts x where block number ``block`` of the cluster has this word of its shared memory. That block must have begun, and
// not have ended.
__device__ __forceinline__ void store_in_cluster(float *word, int block, float x) {
    asm volatile("{ .reg .u32 theirs; mapa.shared::cluster.u32 theirs, %0, %1; st.shared::cluster.f32 [theirs], %2; }"
                 : : "r"((unsigned)__cvta_generic_to_shared(word)), "r"(block), "f"(x) : "memory");
}

// Waits until all threads of the cluster have come here; what they wrote before is seen.
__device__ __forceinline__ void meet_cluster() {
    asm volatile("barrier.cluster.arrive.release;" : : : "memory");
    asm volatile("barrier.cluster.wait.acquire;" : : : "memory");
}
#endif
